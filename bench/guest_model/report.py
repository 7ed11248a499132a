# SPDX-License-Identifier: Apache-2.0
"""What was counted, as an object for JSON and as tables."""
import statistics

from .paths import PATHS
from .works import WORKS

MODEL = "instructions in an emulated CPU, not time; no caches, no slow memory, an AES-NI instruction counts as one"


def summary(rounds, split):
    """Of one path in one work. split: a round of the machine that tells user and system apart, or None."""
    proxy = [one["proxy"] for one in rounds]
    result = {"median": statistics.median(proxy), "min": min(proxy), "max": max(proxy),
              "everybody": statistics.median(one["everybody"] for one in rounds),
              "kernel_transmit": rounds[-1]["kernel_transmit"], "kernel_receive": rounds[-1]["kernel_receive"]}
    if split:
        share = min(max(split["user"] / split["accounted"], 0), 1)  # a kernel's tick may be missing at either end
        result.update(user=result["median"] * share, system=result["median"] * (1 - share), split_total=split["proxy"])
    return result


def summarise(sums, split):
    """sums, split: lists of {"tls", "path", "work", "rounds" or "refused"}. tls to work to path."""
    apart = {(one["tls"], one["work"], one["path"]): one["rounds"][0] for one in split if "rounds" in one}
    results = {}
    for one in sums:
        paths = results.setdefault(one["tls"], {}).setdefault(one["work"], {})
        if "refused" in one:
            paths[one["path"]] = {"refused": one["refused"]}
        else:
            paths[one["path"]] = summary(one["rounds"], apart.get((one["tls"], one["work"], one["path"])))
    for works in results.values():
        for paths in works.values():
            compare(paths)
    return results


def compare(paths):
    """To each path, how much it is of the best peer whose records are protected in user space."""
    peers = [one["median"] for name, one in paths.items()
             if PATHS[name].is_peer and "median" in one and one["kernel_transmit"] == one["kernel_receive"] == 0]
    for one in paths.values():
        if peers and "median" in one:
            one["of_best_peer"] = one["median"] / min(peers)


def scaled(value):
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.3f} {unit}"
    return f"{value:.0f}  "


def where(share):
    """In words, of a direction: how many of the connections the kernel took over."""
    return "user" if share == 0 else "kernel" if share == 1 else f"{share:.0%} kernel"


def line(name, one):
    if "refused" in one:
        return f"  {name:28} refused: {one['refused']}"
    ratio = f"{one['of_best_peer']:.3f}" if "of_best_peer" in one else "-"
    user, system = (scaled(one[key]) if key in one else "-" for key in ("user", "system"))
    return (f"  {name:28} {scaled(one['median']):>9}  {scaled(one['min']):>9} to {scaled(one['max']):>9}  {ratio:>12}  {user:>9} {system:>9}  "
            f"{where(one['kernel_transmit']):>10} {where(one['kernel_receive']):>10}  {scaled(one['everybody']):>11}")


def show(report):
    print(f"\nA MODEL: {report['model']}.")
    print("; ".join(f"{name} {value}" for name, value in report["versions"].items()))
    print(f"{report['rounds']} rounds, {report['megabytes']} MB, {report['date']}; system and user from a boot of their own" if report["split"]
          else f"{report['rounds']} rounds, {report['megabytes']} MB, {report['date']}")
    for version, works in report["results"].items():
        for work, paths in works.items():
            print(f"\nTLS {version}, {work}: instructions of the proxy for each {WORKS[work].unit}")
            print(f"  {'':28} {'median':>9}  {'min to max':^22}  {'of best peer':>12}  {'user':>9} {'system':>9}  "
                  f"{'transmit':>10} {'receive':>10}  {'whole guest':>11}")
            for name, one in paths.items():
                print(line(name, one))
    print("\nof best peer: against the best peer that protects records in user space. "
          "transmit, receive: who protected them, as the kernel counted it.\nA MODEL, not a clock.")
