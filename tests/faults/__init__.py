"""The pipeline under faults: a seeded schedule of them, and an oracle that says whether every event is counted once.

    python -m faults --seed 1 --seconds 60      with tests/ on PYTHONPATH; `make faults` is this, for half an hour

schedule.py     which faults come when, from a seed; pure
rig.py          the processes of a pipeline as `eventpipeline up` runs them, several of each, with proxies between
proxy.py        a TCP proxy that cuts, delays, stalls and leaves connections half open
volumes.py      small file systems that can be filled, and what of them survives a power cut
inject.py       doing a fault to the rig, and how long it took to recover
sent.py         each event that was sent, written down while it is sent
oracle.py       the comparison: sent, answered, stored, rolled up, reported, dead-lettered
breaking.py     the steps of a schedule, each once all is well again
recovering.py   what was answered when, how far the streams are stored; for a cluster too
watch.py        what is ready, and how much memory everything takes
run.py          one run from start to verdict
gates.py        how soon all must be well again
power.py        a power cut, and what it leaves
report.py       what a run prints
planted.py      bugs that the oracle must find
"""
