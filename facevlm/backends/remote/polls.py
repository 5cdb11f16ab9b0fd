"""The vote of several answers about the numbered faces of a picture: who is there, which labels, whose words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from facevlm.backends.remote import replies
from facevlm.types import Inquiry, Person, Reply, Scene

NOT_NAMED = Reply(malformed=True)
Numbered = dict[int, list[Person]]


def vote(scenes: Sequence[Scene], inquiry: Inquiry) -> Scene:
    """What the answers about one picture amount to; its faces are numbered.

    A face is named if more than half of the answers that list people give its number to exactly one of them. Its labels
    are those that most samples gave, with the share of all samples as confidence, its words those of the first answer
    that names it. A number that is only in the majority with answers that give it twice stays doubled, and somebody
    without a number stays where more than half have as many of these: neither is a right answer. If nobody lists
    people, the first answer stands.
    """
    answers = [scene.people for scene in scenes if scene.problem is None]
    if len(scenes) == 1 or not answers:
        return scenes[0]
    sorted_out = [_by_number(people) for people in answers]
    numbers = sorted({number for answer in sorted_out for number in answer})
    people = [person for number in numbers for person in _voted(number, sorted_out, len(scenes), inquiry)]
    return Scene((*people, *_without_number(answers)), samples=len(scenes))


def _by_number(people: Sequence[Person]) -> Numbered:
    found: Numbered = defaultdict(list)
    for person in people:
        if person.number is not None:
            found[person.number].append(person)
    return dict(found)


def _voted(number: int, answers: Sequence[Numbered], samples: int, inquiry: Inquiry) -> list[Person]:
    """One person, nobody, or those of an answer that gives the number twice."""
    given = [answer[number] for answer in answers if number in answer]
    once = [people[0] for people in given if len(people) == 1]
    if len(once) > len(answers) / 2:
        missing = [(NOT_NAMED,) * len(inquiry.questions)] * (samples - len(once))
        labels = replies.vote([*(person.replies for person in once), *missing], inquiry.questions)
        return [Person(tuple(labels), once[0].free, number=number)]
    if len(given) > len(answers) / 2:
        return next(people for people in given if len(people) > 1)
    return []


def _without_number(answers: Sequence[Sequence[Person]]) -> list[Person]:
    """People without a number cannot be told apart: as many as more than half of the answers have, in one's words."""
    rest = [[person for person in people if person.number is None] for people in answers]
    usual = sorted(map(len, rest), reverse=True)[len(rest) // 2]
    return next(people for people in rest if len(people) >= usual)[:usual]
