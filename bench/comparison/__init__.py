# SPDX-License-Identifier: Apache-2.0
"""What bench/compare is made of.

machine.py      what this machine is, which CPUs serve whom
processes.py    processes: started pinned, ended for certain
meter.py        what a proxy used between two moments, and what disturbed it
lab.py, sink.py a folder with certificates and the plaintext servers
proxies.py      who is compared, with which configuration
client.py       ringbolt-bench, and the moments that it announces
works*.py       what is measured
rounds.py       in which order, how often, what is refused
report.py       medians, targets, doubts: the object that table.py prints and page.py draws
"""
