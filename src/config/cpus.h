// SPDX-License-Identifier: Apache-2.0
// How many CPUs we may use: what `workers: auto` means.
#pragma once

// CPUs that this process may run on, or as many as its control groups' quotas of CPU time (cgroup v2, cpu.max) make up, rounded
// up, where those are fewer. At least 1.
unsigned cpus_usable(void);

// ---- for tests ----

// The text of one cpu.max, "QUOTA PERIOD" or "max PERIOD", in CPUs rounded up; 0: it sets no limit, or is no such text.
unsigned cpus_of_quota(const char *text);

// The least of the quotas on the way from the control group that the file at `membership` (as /proc/self/cgroup) names up to
// the root of the tree that is mounted at `tree`; 0: there is none.
unsigned cpus_granted(const char *membership, const char *tree);
