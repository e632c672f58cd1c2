-- The sources that have events of before an upgrade which are not counted in the rollups: `is_backlog` where those of
-- demographics by minute and of users lack them, else where only newer rollups do.
SELECT source, true AS is_backlog FROM rollup_backlog
UNION ALL
SELECT source, false FROM rollup_rest
