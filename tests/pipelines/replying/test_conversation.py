"""The conversation holds what was heard."""

from llm.interface import Message, ToolCall
from pipelines.replying.conversation import Conversation


def test_interrupted_message_is_marked() -> None:
    conversation = Conversation("Be kind.")
    conversation.caller_said("tell me a story")
    conversation.agent_said("Once upon ", is_interrupted=True)
    assert conversation.messages == (
        Message("system", "Be kind."),
        Message("user", "tell me a story"),
        Message("assistant", "Once upon—"),
    )


def test_what_nobody_heard_was_never_said() -> None:
    conversation = Conversation()
    conversation.agent_said("  ", is_interrupted=True)
    assert conversation.messages == ()


def test_turn_reopens_only_if_the_agent_was_not_heard() -> None:
    conversation = Conversation()
    conversation.caller_said("a table")
    assert conversation.reopen_turn() == "a table"
    conversation.caller_said("a table for two")
    conversation.agent_said("Certainly.", is_interrupted=False)
    assert conversation.reopen_turn() == ""
    assert len(conversation.messages) == 2


def test_tool_results_follow_their_calls() -> None:
    call = ToolCall("1", "current_time", "{}")
    conversation = Conversation()
    conversation.agent_called([call], ['{"time": "12:00"}'])
    assert conversation.messages == (
        Message("assistant", "", tool_calls=(call,)),
        Message("tool", '{"time": "12:00"}', tool_call_id="1"),
    )


def test_the_older_half_is_forgotten_in_whole_turns_and_never_the_instructions() -> None:
    call = ToolCall("1", "current_time", "{}")
    conversation = Conversation("Be kind.")
    conversation.caller_said("what time is it")
    conversation.agent_called([call], ["noon"])
    conversation.agent_said("Noon.", is_interrupted=False)
    conversation.caller_said("thank you")
    for _ in range(2):  # the last turn stays
        conversation.forget_older_half()
        assert conversation.messages == (Message("system", "Be kind."), Message("user", "thank you"))
