"""A support agent of a bank with pydantic-ai: dependencies, instructions from a function, structured output."""

from dataclasses import dataclass

from pydantic import BaseModel, Field
from pydantic_ai import Agent, RunContext


@dataclass
class SupportDependencies:
    customer_id: int
    name: str


class SupportOutput(BaseModel):
    support_advice: str = Field(description="Advice returned to the customer")
    block_card: bool = Field(description="Whether to block the customer's card")


support_agent = Agent(
    "openai-chat:scripted-1",
    name="support",
    deps_type=SupportDependencies,
    output_type=SupportOutput,
    instructions="You are a support agent in our bank, give the customer support.",
)


@support_agent.instructions
def add_customer_name(ctx: RunContext[SupportDependencies]) -> str:
    return f"The customer's name is {ctx.deps.name!r}"


@support_agent.tool
def customer_balance(ctx: RunContext[SupportDependencies], include_pending: bool = False) -> str:
    """Return the customer's current account balance."""
    print("executed customer_balance")
    return f"${123.45 + include_pending:.2f}"


result = support_agent.run_sync("What is my balance?", deps=SupportDependencies(customer_id=123, name="John"))
print(repr(result.output))
