"""Cuts: steps at which nothing of the old scene can be found in the new one."""

import numpy as np
import numpy.typing as npt

from features.feature import Feature, Findings, Picture, Step, Timeline, on_later_frame

_RECOGNISED = 0.6  # residual over contrast: two unrelated pictures give about 1, a fast pan 0.3
_STANDS_OUT = 2.5  # times the median of the steps around it, so that chaos is not taken for cuts
_AROUND = 3  # steps on either side


class Cuts:
    """Number of cuts, and how little of each frame was found in the one before.

    Judged on the residual after motion and gain are compensated, as a share of the picture's
    contrast, against the steps around it. A threshold on histogram differences (PySceneDetect's
    content detector, say) takes flicker and shake for cuts; here both are explained away first.
    Dissolves are not cuts.
    """

    features = (
        Feature(
            "cuts",
            "count",
            "neither",
            "abrupt changes of scene",
            "motion-compensated residual against its neighbours (this project)",
        ),
    )

    def __init__(self) -> None:
        self._lost: list[float] = []

    def picture(self, picture: Picture) -> None:
        """Nothing to do: a cut is between frames."""

    def step(self, step: Step) -> None:
        """Share of the picture's contrast that neither motion nor gain explains."""
        self._lost.append(step.flow.lost)

    def mask(self) -> npt.NDArray[np.bool_]:
        """(T - 1,) whether each step crosses a cut."""
        lost = np.asarray(self._lost, np.float64)
        cut = lost >= _RECOGNISED
        for i in np.flatnonzero(cut):
            around = np.concatenate([lost[max(0, i - _AROUND) : i], lost[i + 1 : i + 1 + _AROUND]])
            cut[i] = len(around) > 0 and lost[i] >= _STANDS_OUT * np.median(around)
        return cut

    def finish(self, timeline: Timeline) -> Findings:
        """Count the cuts; their times are an interval list of zero length each."""
        at = timeline.times_s[1:][timeline.cut]
        return Findings(
            {"cuts": float(timeline.cut.sum()) if len(timeline.cut) else None},
            {"residual_share": on_later_frame(np.asarray(self._lost, np.float64))},
            {"cuts": [(float(t), float(t)) for t in at]},
        )
