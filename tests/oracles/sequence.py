"""Moves in waves, by definition: dictionaries of what is free, and lists of who waits.

A mover is a dictionary: `cost` of each option (None: ruled out), `takes`: for each option its rows
(resource, name) with amounts, `at`: for each option the place and the uplink (None: none), and
`target`. The last option is to run nowhere.
"""

from __future__ import annotations

SERVED = 8


def lacks(mover, k, free):
    """Return the first (resource, row) where the mover finds too little."""
    for (resource, row), amount in mover["takes"][k]:
        if amount > 0 and free[row] < amount:
            return resource, row
    return None


def order_moves(movers, free, source, wave_limit, place_limit, uplink_limit):
    """Return steps (mover, from, to, wave, kind), or None when the targets do not fit."""
    free = dict(free)
    at = list(source)
    strayed = set()
    steps = []
    wave = 0
    nowhere = len(movers[0]["cost"]) - 1 if movers else 0
    limit = (place_limit, uplink_limit)

    def crowded(i, to):
        touched = [(side, movers[i]["at"][k][side]) for side in (0, 1) for k in (at[i], to)]
        return any(busy.get(one, 0) >= limit[one[0]] for one in touched if one[1] is not None)

    def step(i, to):
        kind = "move" if to == movers[i]["target"] else "hop"
        kind = "start" if at[i] == nowhere else kind
        if to == nowhere:
            kind = "stop"
            for (_, row), amount in movers[i]["takes"][at[i]]:
                free[row] += amount
        else:
            for (_, row), amount in movers[i]["takes"][to]:
                free[row] -= amount
            for one in {(side, movers[i]["at"][k][side]) for side in (0, 1) for k in (at[i], to)}:
                busy[one] = busy.get(one, 0) + 1
        made.append((i, at[i], to, wave, kind))

    def refuge(i):
        mover = movers[i]
        may = [
            (mover["cost"][k], k)
            for k in range(nowhere)
            if k not in (at[i], mover["target"])
            and mover["cost"][k] is not None
            and not lacks(mover, k, free)
        ]
        return min(may)[1] if may and i not in strayed else nowhere

    def relieve(waiting):
        haven = {i: refuge(i) for i in waiting}

        def price(i):
            away = movers[i]["cost"][haven[i]]
            return away - (movers[i]["cost"][movers[i]["target"]] if haven[i] != nowhere else 0)

        cheapest_first = sorted(waiting, key=price)
        queue, short = {}, {}
        for i in waiting:
            resource, row = lacks(movers[i], movers[i]["target"], free)
            side = 1 if resource == 3 else 0
            queue.setdefault((side, movers[i]["at"][movers[i]["target"]][side]), []).append(i)
            short[i] = (resource, row)
        goes = set()

        def around(i):
            """Return who waits for where `i` is."""
            return [queue.get((side, movers[i]["at"][at[i]][side]), []) for side in (0, 1)]

        def helps(j, i, partly):
            resource, row = short[i]
            gives = movers[j]["demand"][resource]
            need = movers[i]["demand"][resource] - free[row]
            return i not in goes and gives > 0 and (gives >= need or partly)

        for stops in (False, True):
            for partly in (False, True):
                if made:
                    return
                for j in cheapest_first:
                    if j in goes or stops != (haven[j] == nowhere) or len(made) >= wave_limit:
                        continue
                    if not stops and (crowded(j, haven[j]) or lacks(movers[j], haven[j], free)):
                        continue
                    if not any(helps(j, i, partly) for one in around(j) for i in one):
                        continue
                    step(j, haven[j])
                    strayed.add(j)
                    goes.add(j)
                    left = [j]
                    for gone in left:
                        for one in around(gone):
                            served = [i for i in one if i not in goes][: len(left) <= SERVED]
                            goes.update(served)
                            left += served

    waiting = list(range(len(movers)))
    while waiting:
        made, busy = [], {}
        for i in sorted(waiting, key=lambda i: (i not in strayed, i)):
            to = movers[i]["target"]
            if len(made) == wave_limit or lacks(movers[i], to, free):
                continue
            if to == nowhere or not crowded(i, to):
                step(i, to)
        if not made:
            relieve(waiting)
        if not made:
            return None
        for i, old, to, _, kind in made:
            at[i] = to
            if kind != "stop":
                for (_, row), amount in movers[i]["takes"][old]:
                    free[row] += amount
        waiting = [i for i in waiting if at[i] != movers[i]["target"]]
        steps += made
        wave += 1
    return steps


def rely(movers, free, steps):
    """Return the pairs (step, step it waits for): room is dealt out grain by grain."""
    owed = {row: max(0, -amount) for row, amount in free.items()}
    was_over = {row for row, amount in owed.items() if amount > 0}
    # Of each row, who provided each grain that is free; None: nobody, it was free at the start.
    grains = {row: [None] * max(0, amount) for row, amount in free.items()}
    relief = {row: set() for row in free}
    opener = {}
    last = {}
    pairs = set()
    for wave in sorted({step[3] for step in steps}):
        now = [(s, *step) for s, step in enumerate(steps) if step[3] == wave]

        def give(s, i, old):
            for (_, row), amount in movers[i]["takes"][old]:
                paid = min(owed[row], amount)
                if paid:
                    relief[row].add(s)
                owed[row] -= paid
                grains[row] += [s] * (amount - paid)

        for s, i, old, _, _, kind in now:
            if kind == "stop":
                give(s, i, old)
        for s, i, _, to, _, _ in now:
            if i in last:
                pairs.add((s, last[i]))
            last[i] = s
            for (_, row), amount in movers[i]["takes"][to]:
                if amount == 0:
                    continue
                if row in opener:
                    pairs.add((s, opener[row]))
                elif row in was_over:
                    opener[row] = s
                    pairs |= {(s, giver) for giver in relief[row]}
                used, grains[row] = grains[row][:amount], grains[row][amount:]
                pairs |= {(s, giver) for giver in used if giver is not None}
        for s, i, old, _, _, kind in now:
            if kind != "stop":
                give(s, i, old)
    return sorted(pairs)
