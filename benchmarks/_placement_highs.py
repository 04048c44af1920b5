"""The peer: HiGHS, a mixed-integer solver, on the same instance; in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import time
from dataclasses import dataclass

import highspy
import numpy as np
from scipy.sparse import coo_array

from aiops.placement.instance import CLOSED, UNLIMITED, Instance

DOLLAR = 1e6


@dataclass(frozen=True)
class Solved:
    """What HiGHS found; money in micro-dollars per hour."""

    cost: float
    """Of its best plan; of the relaxation, if that was asked for."""
    bound: float
    cpu_s: float
    """To presolve and solve; building the model not counted."""
    status: str

    @property
    def gap(self) -> float:
        """As a share of the bound."""
        return (self.cost - self.bound) / self.bound


def highs(instance: Instance, gap: float | None, limit_s: float = 1e9, seed: int = 0) -> Solved:
    """Return what HiGHS finds on one thread, in a child process.

    Args:
        instance: the problem; all of it is given to HiGHS as rows and binary columns.
        gap: relative gap at which it may stop; None: the linear relaxation only.
        limit_s: of its own clock.
        seed: of its heuristics.
    """
    here, there = multiprocessing.get_context("spawn").Pipe(duplex=False)
    child = multiprocessing.get_context("spawn").Process(
        target=_run, args=(there, instance, gap, limit_s, seed)
    )
    child.start()
    there.close()
    try:
        solved: Solved = here.recv()
    finally:
        child.join()
    return solved


def model(instance: Instance, relaxed: bool) -> highspy.HighsLp:
    """Return the instance as columns, one for each open option, and rows, one for each limit."""
    open_ = instance.cost != CLOSED
    w, k = np.nonzero(open_)
    column = np.arange(len(w))
    node, link, home = instance.node[w, k], instance.uplink[w, k], instance.home[w]
    workloads, shared = len(instance.cost), len(instance.capacity)
    rows, columns, values = [w], [column], [np.ones(len(w))]
    own = (k == 0) & (node < 0)
    for q in range(3):
        at = np.where(own, shared + 3 * home + q, 3 * node + q)
        there = own | (node >= 0)
        rows.append(workloads + at[there])
        columns.append(column[there])
        values.append(instance.demand[w[there], q] / DOLLAR)
    crossing = link >= 0
    rows.append(workloads + 3 * instance.nodes + link[crossing])
    columns.append(column[crossing])
    values.append(instance.demand[w[crossing], 3] / DOLLAR)
    capacity = np.concatenate([instance.capacity, instance.room.ravel()])
    matrix = coo_array(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
        shape=(workloads + len(capacity), len(w)),
    ).tocsc()
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = matrix.shape[1], matrix.shape[0]
    lp.col_cost_ = instance.cost[w, k] / DOLLAR
    lp.col_lower_, lp.col_upper_ = np.zeros(len(w)), np.ones(len(w))
    most = np.where(capacity < UNLIMITED, capacity / DOLLAR, highspy.kHighsInf)
    lp.row_upper_ = np.concatenate([np.ones(workloads), most])
    lp.row_lower_ = np.concatenate([np.ones(workloads), np.full(len(capacity), -highspy.kHighsInf)])
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_ = matrix.indptr
    lp.a_matrix_.index_ = matrix.indices
    lp.a_matrix_.value_ = matrix.data
    if not relaxed:
        lp.integrality_ = [highspy.HighsVarType.kInteger] * len(w)
    return lp


def _run(answer, instance: Instance, gap: float | None, limit_s: float, seed: int) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # it greets on the descriptor itself
    solver = highspy.Highs()
    solver.silent()
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("random_seed", seed)
    solver.setOptionValue("time_limit", limit_s)
    if gap is not None:
        solver.setOptionValue("mip_rel_gap", gap)
    solver.passModel(model(instance, gap is None))
    began = time.process_time()
    solver.run()
    cpu_s = time.process_time() - began
    said = solver.getInfo()
    cost = said.objective_function_value * DOLLAR
    bound = cost if gap is None else said.mip_dual_bound * DOLLAR
    status = solver.modelStatusToString(solver.getModelStatus())
    answer.send(Solved(cost, bound, cpu_s, status))
    answer.close()
