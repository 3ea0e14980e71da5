r"""Solving with the covariance V of the scores without building it: cubic in points, not in runs.

.. math:: V = B + Z K Z^\top + X S S^\top X^\top

B holds the noise, and what two runs of one point on one fold share beyond all else. Z says which point a run is of and
K is the points' own covariance (f + nugget); X holds the indicators of folds, replicates and arms, S their deviations.
B falls into cells and is inverted by hand (Sherman and Morrison), K is eliminated by one P x P inverse, and what is
left has as many rows as there are folds, replicates and arms together (Woodbury). Written :math:`V_1 = B + Z K Z^\top`,
:math:`g = \mathrm{diag}(Z^\top B^{-1} Z)`, :math:`M = I + g^{1/2} K g^{1/2}`:

.. math:: Z^\top V_1^{-1} Z = J = g^{1/2} M^{-1} g^{1/2}, \quad
          \Psi = (K^{-1} + g)^{-1} = g^{-1} - g^{-1/2} M^{-1} g^{-1/2}, \\
          Q = V_1^{-1} - V_1^{-1} X S \Phi S^\top X^\top V_1^{-1}, \quad
          \Phi^{-1} = S^\top X^\top V_1^{-1} X S + \mathrm{diag}(1, \ldots, 1, 0, 0)

with ones for the effects of folds and replicates and zeros for the arms, whose means have a flat prior. Letters of
shapes: n runs, C cells (pairs of point or plain and fold), P points, k columns of X, and one more (K) for the scores.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy.linalg import lapack

from dce_ray.errors import SearchError
from dce_ray.points.covariance import Array, Layout


class Design:
    """All that scores and their order contribute, whatever the components: sums over arms and cells.

    Args:
        layout: who ran what.
        scores: (n,) in the layout's order.
    """

    def __init__(self, layout: Layout, scores: Array) -> None:
        folds, replicates = np.eye(layout.folds), np.eye(layout.replicates)
        self.folds, self.replicates = layout.folds, layout.replicates
        self.shared_nk = np.concatenate(
            [folds[layout.fold_of_run], replicates[layout.replicate_of_run], layout.arms_nA], axis=1
        )
        all_nK = np.concatenate([self.shared_nk, scores[:, None]], axis=1)
        plain = layout.plain
        self.runs, self.runs_plain, self.arms = len(plain), int(plain.sum()), layout.arms_nA.shape[1]
        self.gram_KK, self.gram_plain_KK = (all_nK[~plain].T @ all_nK[~plain], all_nK[plain].T @ all_nK[plain])

        cells, first = np.unique(layout.cell_of_run, return_index=True)
        by_cell = np.argsort(layout.cell_of_run, kind="stable")
        starts = np.searchsorted(layout.cell_of_run[by_cell], cells)
        self.sums_CK = np.add.reduceat(all_nK[by_cell], starts, axis=0)
        self.size_C = np.diff(starts, append=self.runs).astype(np.float64)
        self.plain_C = plain[first]
        self.point_of_cell = layout.point_of_run[first[~self.plain_C]]
        self.cells_of_points = len(self.point_of_cell)
        self.starts_P = np.searchsorted(self.point_of_cell, np.arange(len(layout.points)))

    def over_points(self, of_cells: Array) -> Array:
        """(C, ...) becomes (P, ...): sums over the cells of each point."""
        if not len(self.starts_P):
            return np.zeros((0, *of_cells.shape[1:]))
        return np.asarray(np.add.reduceat(of_cells[: self.cells_of_points], self.starts_P, axis=0))

    def of_cells(self, of_points: Array) -> Array:
        """(P, ...) becomes (C, ...): the value of each cell's point; 0 for plain's."""
        found = np.zeros((len(self.size_C), *of_points.shape[1:]))
        found[: self.cells_of_points] = of_points[self.point_of_cell]
        return found

    def deviations_kk(self, fold: float, seed: float) -> Array:
        """S: effects sum to zero over the folds, and over the replicates, that ran.

        A level is thereby the mean over them, and what is common to all points is no part of how uncertain it is.
        """
        found = np.eye(self.shared_nk.shape[1])
        folds, seeds = slice(0, self.folds), slice(self.folds, self.folds + self.replicates)
        found[folds, folds] = fold * (np.eye(self.folds) - 1 / self.folds)
        found[seeds, seeds] = seed * (np.eye(self.replicates) - 1 / self.replicates)
        return found


class Elimination:
    """The covariance of one set of components, ready to be solved with.

    Args:
        design: of the scores.
        own_PP: covariance K of the points' levels, in the unit of the scores squared; it is not kept.
        fold: deviation of the folds' effects, in the unit of the scores.
        seed: of the replicates' effects.
        cell: variance of a point on a fold.
        noise: variance of a run of a point.
        noise_plain: of a run of plain.

    Raises:
        SearchError: the covariance cannot be inverted.
    """

    def __init__(
        self, design: Design, own_PP: Array, *, fold: float, seed: float, cell: float, noise: float, noise_plain: float
    ) -> None:
        if min(noise, noise_plain) <= 0:
            raise SearchError(
                f"noise of variance {noise:g}, plain's {noise_plain:g}: a covariance without noise cannot be inverted; "
                "give the noise a deviation above 0, or fit the components anew"
            )
        self.design, self.cell, self.noise_plain = design, cell, noise_plain
        noise_C = np.where(design.plain_C, noise_plain, noise)
        self.rows_C = 1 / (noise_C + design.size_C * cell)  # what B^-1 makes of a cell's ones
        taken_C = cell * self.rows_C / noise_C
        gram_KK = design.gram_KK / noise + design.gram_plain_KK / noise_plain
        gram_KK -= (design.sums_CK * taken_C[:, None]).T @ design.sums_CK

        self.known_P = design.over_points(design.size_C * self.rows_C)
        told_PK = design.over_points(self.rows_C[:, None] * design.sums_CK)
        self.root_P = np.sqrt(self.known_P)
        square_PP = own_PP * self.root_P
        square_PP *= self.root_P[:, None]
        np.fill_diagonal(square_PP, 1 + np.diag(square_PP))
        self.inverse_PP, of_points = inverse(square_PP)  # of M
        half_PK = self.inverse_PP @ (told_PK / self.root_P[:, None])
        self.given_PK = (told_PK / self.root_P[:, None] - half_PK) / self.root_P[:, None]
        """Psi Z' B^-1 [X, y]: a point's level given the scores and that of the rest, by column."""
        self.solved_PK = self.root_P[:, None] * half_PK
        """Z' V1^-1 [X, y]."""
        gram_KK -= told_PK.T @ self.given_PK  # [X, y]' V1^-1 [X, y]

        self.gram_kk, self.towards_k = gram_KK[:-1, :-1], gram_KK[:-1, -1]
        self.deviations_kk = design.deviations_kk(fold, seed)
        information = self.deviations_kk.T @ self.gram_kk @ self.deviations_kk
        effects = design.folds + design.replicates
        information[np.arange(effects), np.arange(effects)] += 1
        self.spread_kk, of_shared = inverse(information)
        """Phi: covariance of the effects in their deviations, and of the arms' means."""
        self.effects_k = self.deviations_kk @ (self.spread_kk @ (self.deviations_kk.T @ self.towards_k))
        """Estimated effects of folds and replicates, and the arms' means."""
        self.misfit = float(gram_KK[-1, -1] - self.towards_k @ self.effects_k)
        """y' Q y."""
        of_cells = np.log(noise_C) * (design.size_C - 1) - np.log(self.rows_C)
        self.logarithm = float(of_cells.sum()) + of_points + of_shared
        """log |V| + log |H' V^-1 H|, H being the arms' columns of X."""
        self.weighed_P = self.solved_PK @ np.append(-self.effects_k, 1.0)
        """Z' Q y."""

    @cached_property
    def taken_kk(self) -> Array:
        """S Phi S'."""
        return np.asarray(self.deviations_kk @ self.spread_kk @ self.deviations_kk.T)

    @property
    def left_PP(self) -> Array:
        """Psi."""
        found = self.inverse_PP / -self.root_P
        found /= self.root_P[:, None]
        np.fill_diagonal(found, (1 - np.diag(self.inverse_PP)) / self.known_P)
        return found

    def pull_of_points(self) -> Array:
        """(P, P) Z' (Q y y' Q - Q) Z."""
        solved_Pk = self.solved_PK[:, :-1]
        pull = solved_Pk @ self.taken_kk @ solved_Pk.T
        pull -= self.inverse_PP * self.root_P * self.root_P[:, None]  # J
        pull += self.weighed_P * self.weighed_P[:, None]
        return np.asarray(pull)

    def pull_of_shared(self) -> Array:
        """(k, k) X' (Q y y' Q - Q) X."""
        towards = self.gram_kk @ self.taken_kk @ self.gram_kk - self.gram_kk
        weighed = self.towards_k - self.gram_kk @ self.effects_k  # X' Q y
        return np.asarray(towards + np.outer(weighed, weighed))

    def pull_of_cells(self) -> float:
        """Trace of (Q y y' Q - Q) times the matrix of who shares a cell."""
        design, size_C = self.design, self.design.size_C
        left_P = (1 - np.diag(self.inverse_PP)) / self.known_P
        alone = size_C * self.rows_C
        solved_CK = self.rows_C[:, None] * (design.sums_CK - size_C[:, None] * design.of_cells(self.given_PK))
        solved_Ck, weighed_C = solved_CK[:, :-1], solved_CK @ np.append(-self.effects_k, 1.0)
        q_C = alone - alone**2 * design.of_cells(left_P) - np.einsum("ck,ck->c", solved_Ck @ self.taken_kk, solved_Ck)
        return float(weighed_C @ weighed_C - q_C.sum())

    def pull_of_plain(self) -> float:
        """Trace of Q y y' Q - Q over plain's runs."""
        design, plain = self.design, self.design.plain_C
        sums_CK, size_C = design.sums_CK[plain], design.size_C[plain]
        taken_C = self.cell * self.rows_C[plain]  # of each of a cell's runs
        twice = (sums_CK * (taken_C * (2 - taken_C * size_C))[:, None]).T @ sums_CK
        solved_KK = (design.gram_plain_KK - twice) / self.noise_plain**2
        weights = np.append(-self.effects_k, 1.0)
        q = ((1 - taken_C) * size_C).sum() / self.noise_plain - np.vdot(self.taken_kk, solved_KK[:-1, :-1])
        return float(weights @ solved_KK @ weights - q)


def inverse(square: Array) -> tuple[Array, float]:
    """Inverse and log determinant of a symmetric positive definite matrix, by Cholesky.

    Raises:
        SearchError: it is not positive definite in double precision.
    """
    if not len(square):
        return square, 0.0
    factor, fault = lapack.dpotrf(square, lower=1)
    if fault:
        raise SearchError(
            f"a covariance of {len(square)} rows cannot be inverted (pivot {fault}); "
            "give the noise a deviation above 0, or fit the components anew"
        )
    logarithm = 2 * float(np.log(np.diag(factor)).sum())
    found, _ = lapack.dpotri(factor, lower=1, overwrite_c=1)  # above the diagonal stand the factor's zeros
    np.fill_diagonal(found, 0.5 * np.diag(found))
    return found + found.T, logarithm
