"""How strongly and how long a picture is redrawn, and how many UNet calls that costs."""

from __future__ import annotations

from dataclasses import dataclass

MOST_STEPS = 500


@dataclass(frozen=True)
class Pace:
    """The last `calls` of a schedule of `steps`: calls / steps is the strength, 1 forgets the
    picture.

    diffusers takes int(steps * strength) of them; that whole number is kept here, so that no
    rounding changes it.
    """

    steps: int
    calls: int

    @classmethod
    def of(cls, steps: int, strength: float) -> Pace:
        """ValueError where no step is left, or where the numbers are no steps and no strength."""
        if type(steps) is not int or not 1 <= steps <= MOST_STEPS:
            raise ValueError(
                f"style.steps is {steps!r}: a whole number from 1 to {MOST_STEPS} is expected"
            )
        if not isinstance(strength, int | float) or not 0 < strength <= 1:
            raise ValueError(
                f"style.strength is {strength!r}: a number above 0, at most 1, is expected"
            )
        calls = min(int(steps * strength), steps)
        if calls < 1:
            least = -(-1 // strength)
            raise ValueError(
                f"style.steps {steps} x style.strength {strength:g} leaves "
                f"int({steps * strength!r}) = 0 steps, which "
                "would change nothing: at least 1 is expected, so set "
                f"style.steps={least:.0f} or more"
            )
        return cls(steps, calls)

    @property
    def share(self) -> float:
        return self.calls / self.steps

    @property
    def strength(self) -> float:
        """What to tell diffusers: half a step more, of which it takes the whole number."""
        return min((self.calls + 0.5) / self.steps, 1.0)

    def weaker(self, share: float) -> Pace:
        """As many calls, from the end of a longer schedule: about `share` of the strength."""
        return Pace(min(round(self.steps / share), 2 * MOST_STEPS), self.calls)


def passes(guidance: float) -> int:
    """UNet calls to a step of a frame: above 1, guidance compares with a second one without the
    prompt.
    """
    return 2 if guidance > 1 else 1
