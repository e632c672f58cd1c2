-- Puts the sketches of one source.
INSERT INTO rollup_users (source, step, start, registers)
SELECT %(source)s, step, start, registers
FROM unnest(%(steps)s::text[], %(starts)s::timestamptz[], %(registers)b::bytea[]) AS sketch (step, start, registers)
ON CONFLICT (source, step, start) DO UPDATE
SET registers = excluded.registers
