"""What is done about a meme: acted on at once, reviewed by a person, or passed, by what errors and reviews cost.

`Policy.fit` calibrates each category's score on a model's validation and derives limits from costs, `implied` says what
a policy means for queues and errors, and a policy is kept as a TOML file.
"""

from memeblend.policy.budget import Budget
from memeblend.policy.costs import Costs
from memeblend.policy.implying import implied
from memeblend.policy.policy import Policy

__all__ = ["Budget", "Costs", "Policy", "implied"]
