-- The sources whose demographics by minute and whose users are not counted in the rollups.
SELECT source FROM rollup_backlog
