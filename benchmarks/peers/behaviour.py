"""What is kept, what comes back, and which cookies are read: all that a library does right or wrong, in one process each."""

from benchmarks.peers.cookies import measure_cookies
from benchmarks.peers.endings import measure_endings, measure_updates
from benchmarks.peers.gang import Gang, Member
from benchmarks.peers.results import Row, Scope, each


def behaviour(gang: Gang, scope: Scope) -> list[Row]:
    def measure(member: Member) -> Row:
        row: Row = {"updates": measure_updates(member, scope), "endings": measure_endings(member)}
        return row | ({"cookies": measure_cookies(member)} if member.store == member.contender.stores[0] else {})

    return each(gang, scope.pairs(), measure)
