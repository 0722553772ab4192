"""Usual actions by their names: which are dislikes, which have a value that rates the item, and which are neither."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

LARGEST_WEIGHT = 100.0
"""Largest weight of an action, in examples of weight 1: enough for a purchase against a view, and small enough that the
counts of any item stay far from the largest float32."""

DISLIKES = (
    "block",
    "dislike",
    "dismiss",
    "downvote",
    "hate",
    "hide",
    "mute",
    "not_interested",
    "report",
    "skip",
    "thumbs_down",
    "unlike",
)
"""Actions that speak against their item."""

RATED_ACTIONS = ("rate", "rating", "review", "score", "stars")
"""Actions whose value says how much the user likes the item."""

LIKES = frozenset(
    (
        "addtocart",
        "addtowishlist",
        "bookmark",
        "book",
        "buy",
        "cart",
        "checkout",
        "click",
        "comment",
        "complete",
        "download",
        "favorite",
        "favourite",
        "finish",
        "follow",
        "forward",
        "impression",
        "install",
        "interaction",
        "like",
        "listen",
        "longview",
        "longwatch",
        "open",
        "order",
        "play",
        "profileenter",
        "purchase",
        "rate",
        "read",
        "save",
        "share",
        "stream",
        "subscribe",
        "thumbsup",
        "upvote",
        "view",
        "visit",
        "watch",
        "wishlist",
    )
)
"""Actions, as `normalised_action` spells them, that are known to speak for their item; others are pointed out."""


def normalised_action(action: str) -> str:
    """Spell an action's name without case and separators.

    Examples
    --------
    >>> [normalised_action(name) for name in ("thumbs_down", "Thumbs-Down", "thumbsDown")]
    ['thumbsdown', 'thumbsdown', 'thumbsdown']
    """
    return "".join(character for character in action.casefold() if character.isalnum()) or action


def _checked_weight(weight: Any) -> Any:
    if isinstance(weight, str):  # from an environment variable or an argument
        try:
            weight = float(weight)
        except ValueError:
            return weight
    if isinstance(weight, int | float) and not 0 <= weight <= LARGEST_WEIGHT:  # also refuses NaN
        raise ValueError(
            f"a weight must be a number from 0 to {LARGEST_WEIGHT:g}; for an action that counts against its item, "
            "name the action in trainer.dislikes and give it a positive weight here, or none for 1"
        )
    return weight


ActionWeight = Annotated[float, BeforeValidator(_checked_weight)]
"""Weight of an action as a training example: a number from 0 to `LARGEST_WEIGHT`."""
