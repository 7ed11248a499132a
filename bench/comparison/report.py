# SPDX-License-Identifier: Apache-2.0
"""The report: one object that is written as JSON, printed as a table and drawn as a page. docs/compare.md describes its keys."""
from .proxies import OURS, PEER

FORMAT = "ringbolt-compare 1"
WORSE = "the true figure is worse"  # in the words for a limit of that kind; any other means "at least so good"
TARGETS = [
    ("handshake-ecdsa", "cpu", 0.65, "CPU of a full handshake, TLS 1.3, ECDSA P-256"),
    ("resumed-13", "cpu", 0.6, "CPU of a resumed handshake, TLS 1.3"),
    ("resumed-12", "cpu", 0.6, "CPU of a resumed handshake, TLS 1.2"),
    ("request-64", "cpu", 0.65, "CPU of a request, 64 kept connections"),
    ("request-64", "p99", 1.0, "99th percentile of a request, 64 kept connections"),
    ("request-512", "cpu", 0.65, "CPU of a request, 512 kept connections"),
    ("request-512", "p99", 1.0, "99th percentile of a request, 512 kept connections"),
    ("download", "cpu", 0.6, "CPU of a GB downloaded"),
    ("upload", "cpu", 0.6, "CPU of a GB uploaded"),
    ("idle", "memory", 0.1, "memory of an idle connection"),
    ("storm", "p99", 0.5, "99th percentile of requests during a storm of handshakes"),
]


def best(results, proxies, role, metric):
    """The one with the lowest median whose figures count, or None."""
    found = [(results[proxy.id]["metrics"][metric]["median"], proxy.id) for proxy in proxies if proxy.role == role
             and proxy.id in results and not results[proxy.id]["refused"] and metric in results[proxy.id]["metrics"]]
    return min(found, default=None)


def target(results, proxies, work, metric, limit, title):
    """None when one of both has no figure. A limited figure is a bound: that proxy is at least so good (or so bad: WORSE). So it decides
    only what it can: met is None, with a note, where the true figure could turn it."""
    ours, peer = best(results, proxies, OURS, metric), best(results, proxies, PEER, metric)
    if not ours or not peer or peer[0] <= 0:
        return None
    ratio, note = ours[0] / peer[0], None
    met = ratio <= limit
    names = {proxy.id: proxy.name for proxy in proxies}
    for side, is_ours in ((ours, True), (peer, False)):
        why = results[side[1]]["limits"].get(metric)
        if why and met == (is_ours == (WORSE in why)):  # ours can only get better and has not met, and so on
            bound = "bad" if WORSE in why else "good"
            met, note = None, f"can't be decided: {names[side[1]]} is at least this {bound}, {why}"
            break
    return {"id": work if metric in ("cpu", "memory") or work == "storm" else f"{work}-{metric}", "title": title, "work": work,
            "metric": metric, "limit": limit, "ours": {"proxy": ours[1], "value": ours[0]},
            "peer": {"proxy": peer[1], "value": peer[0]}, "ratio": ratio, "met": met, "note": note}


def targets(described, proxies):
    found = [target(described[row[0]], proxies, *row) for row in TARGETS if row[0] in described]
    return [one for one in found if one]


def doubts(machine, plan, wanted_idle, described, disturbances):
    result = []
    if machine["proxy_cpus"] == machine["other_cpus"]:
        result.append("There is one CPU: proxy, client and backend take turns on it, so their caches are shared and nothing but CPU and "
                      "memory means anything.")
    elif len(machine["other_cpus"]) == 1:
        result.append("Client and backend share one CPU, so throughput and latency at full load are often theirs and not the proxy's; "
                      "CPU per unit is the proxy's.")
    if machine["virtual"] != "none":
        result.append(f"The machine is virtual ({machine['virtual']}): what neighbours do to its caches is not seen, only the time that "
                      "they take from it.")
    if "idle" in described and plan.idle_connections < wanted_idle:
        result.append(f"The limit of open files allows {plan.idle_connections:,} idle connections, not {wanted_idle:,} (ulimit -n).")
    if plan.tolerated > 0.05:
        result.append(f"Disturbances of up to {100 * plan.tolerated:.0f} % of the time were accepted (--tolerate), not of 5 % as usual.")
    if disturbances:
        kept = sum(not one["repeated"] for one in disturbances)
        result.append(f"{len(disturbances)} measures were disturbed by other load on the machine; {kept} of them had no undisturbed "
                      "repetition and are left out.")
    result.append("The work that the kernel does for TCP is counted to whom it interrupts, as on every Linux: some of the client's on "
                  "loopback is in the proxy's figure, and the other way round. It is so for all proxies.")
    return result


def report(machine, versions, ciphersuite, plan, profile, command, begun, ended, rounds, proxies, missing, works, described, disturbances,
           wanted_idle):
    return {
        "format": FORMAT, "profile": profile, "command": command, "begun": begun, "ended": ended, "machine": machine,
        "versions": versions, "rounds": rounds, "ciphersuite": ciphersuite,
        "seconds": round(plan.seconds, 3), "warm_up": plan.warm_up, "tolerated": plan.tolerated, "rate": plan.rate,
        "proxies": [proxy.describe() for proxy in proxies], "missing": missing,
        "works": [{**work.describe(), "results": described[work.id]} for work in works],
        "targets": targets(described, proxies), "disturbances": disturbances,
        "doubts": doubts(machine, plan, wanted_idle, described, disturbances),
    }
