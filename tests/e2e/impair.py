# SPDX-License-Identifier: Apache-2.0
"""netem's work by hand, where the kernel has no netem: passes packets between two TUN devices, and harms them on the way.

    impair.py DESCRIPTOR DESCRIPTOR         each line on standard input is JSON: the faults from now on; each is answered
by a line: how many packets came and how many were hit by what until then

Faults, in both directions:  loss, corrupt, reorder, swap: of 100 packets; delay: milliseconds; hole: nothing passes
    corrupt: one bit of the packet, which the checksum of IP or TCP finds
    reorder: the packet comes 20 ms late
    swap: two words of what TCP carries change places, which its checksum does not find (RFC 1071 is a sum)
"""
import heapq
import json
import os
import random
import select
import sys
import time

LATE_SECONDS = 0.02
PACKET_MAX = 65536


def flip(packet, chance):
    bit = chance.randrange(len(packet) * 8)
    packet[bit // 8] ^= 1 << bit % 8


def swap(packet, chance):
    """Two words at even places that differ; packets without such stay as they are."""
    if packet[9] != 6:
        return
    start = (packet[0] & 15) * 4
    start += (packet[start + 12] >> 4) * 4
    words = range(start, len(packet) - 1, 2)
    for _ in range(8 if len(words) > 1 else 0):
        a, b = chance.sample(words, 2)
        if packet[a:a + 2] != packet[b:b + 2]:
            packet[a:a + 2], packet[b:b + 2] = packet[b:b + 2], packet[a:a + 2]
            return


class Path:
    def __init__(self, ends):
        self.other = dict(zip(ends, reversed(ends)))
        self.faults, self.waiting, self.number = {}, [], 0
        self.counts = {}
        self.chance = random.Random(1)  # the same harm in each run, as far as the packets are the same

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def is_hit(self, fault):
        hit = self.chance.random() * 100 < self.faults.get(fault, 0)
        if hit:
            self.count(fault)
        return hit

    def take(self, end):
        packet = bytearray(os.read(end, PACKET_MAX))
        self.count("packets")
        if self.faults.get("hole") or self.is_hit("loss") or packet[0] >> 4 != 4:
            return
        if self.is_hit("corrupt"):
            flip(packet, self.chance)
        if self.is_hit("swap"):
            swap(packet, self.chance)
        seconds = self.faults.get("delay", 0) / 1000 + (LATE_SECONDS if self.is_hit("reorder") else 0)
        self.number += 1
        heapq.heappush(self.waiting, (time.monotonic() + seconds, self.number, self.other[end], packet))

    def pass_on(self):
        """Returns how long the next one must wait."""
        while self.waiting and self.waiting[0][0] <= time.monotonic():
            _, _, end, packet = heapq.heappop(self.waiting)
            try:
                os.write(end, packet)
            except OSError:
                pass  # what the kernel takes for no packet any more
        return max(0, self.waiting[0][0] - time.monotonic()) if self.waiting else None


def main():
    ends = [int(word) for word in sys.argv[1:3]]
    path = Path(ends)
    lines = sys.stdin
    while True:
        ready = select.select([lines, *ends], [], [], path.pass_on())[0]
        for one in ready:
            if one in ends:
                path.take(one)
                continue
            line = lines.readline()
            if not line:
                return
            path.faults = json.loads(line)
            print(json.dumps(path.counts), flush=True)
            path.counts = {}


if __name__ == "__main__":
    main()
