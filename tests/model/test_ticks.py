"""When schedules run: fields of cron, and nights on which clocks are changed.

The ticks are compared with those of a walker, which looks at each minute of UTC that there is, and
knows nothing of how the ticks are found.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

import m25
from support.thorough import IS_THOROUGH, thorough, tries

MINUTE = timedelta(minutes=1)

#: Half an hour at Lord Howe, a quarter's offset at Chatham, a change at midnight in Beirut and in
#: Santiago, the other hemisphere in Sydney, two more changes for Ramadan in Casablanca.
FEW_ZONES = (
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "America/Santiago",
    "Africa/Casablanca",
)
MANY_ZONES = (
    *FEW_ZONES,
    *(f"Europe/{city}" for city in (
        "London", "Dublin", "Lisbon", "Paris", "Madrid", "Rome", "Athens", "Helsinki", "Kyiv",
        "Chisinau", "Moscow", "Istanbul",
    )),
    *(f"America/{city}" for city in (
        "New_York", "Chicago", "Denver", "Los_Angeles", "Anchorage", "St_Johns", "Halifax",
        "Havana", "Nuuk", "Asuncion", "Sao_Paulo", "Mexico_City", "Caracas", "Phoenix",
    )),
    *(f"Asia/{city}" for city in (
        "Beirut", "Jerusalem", "Gaza", "Amman", "Tehran", "Kathmandu", "Kolkata", "Tokyo",
        "Pyongyang",
    )),
    *(f"Australia/{city}" for city in ("Sydney", "Adelaide", "Perth", "Darwin")),
    "Antarctica/Troll", "Atlantic/Azores", "Pacific/Auckland", "Pacific/Apia", "Africa/Cairo",
    "UTC",
)  # fmt: skip


class Fields:
    """The five fields, as sets of numbers."""

    def __init__(self, expression: str) -> None:
        minute, hour, day, month, weekday = expression.split()
        self.has_each = hour.startswith("*")
        self.needs_both = day.startswith("*") or weekday.startswith("*")
        self.minutes = numbers(minute, 0, 59)
        self.hours = numbers(hour, 0, 23)
        self.days = numbers(day, 1, 31)
        self.months = numbers(month, 1, 12)
        self.weekdays = {number % 7 for number in numbers(weekday, 0, 7)}

    def match(self, local: datetime) -> bool:
        if local.minute not in self.minutes or local.hour not in self.hours:
            return False
        by_day = local.day in self.days
        by_weekday = local.isoweekday() % 7 in self.weekdays
        is_day = by_day and by_weekday if self.needs_both else by_day or by_weekday
        return is_day and local.month in self.months


def walk(zone: str, begin: datetime, end: datetime) -> Iterator[tuple[datetime, list[datetime]]]:
    """Each minute after `begin`, up to `end`: the instant, and what the clock shows then for the
    first time. That is nothing in a second pass, and after a gap all that it has jumped over, too.
    """
    info = ZoneInfo(zone)
    seen_until = (begin - timedelta(days=2)).astimezone(info).replace(tzinfo=None)
    before = seen_until
    now = begin - timedelta(days=2)
    while now < end:
        now += MINUTE
        shown = now.astimezone(info).replace(tzinfo=None, fold=0)
        new: list[datetime] = []
        minute = max(before, seen_until)
        while minute < shown:
            minute += MINUTE
            new.append(minute)
        seen_until = max(seen_until, shown)
        before = shown
        if now > begin:
            yield now, new


def walked(
    zone: str, begin: datetime, end: datetime, expressions: Sequence[str]
) -> dict[str, list[datetime]]:
    """The ticks of expressions by their definition: minute by minute."""
    info = ZoneInfo(zone)
    found: dict[str, list[datetime]] = {expression: [] for expression in expressions}
    ticks = [(Fields(expression), found[expression]) for expression in found]
    for now, new in walk(zone, begin, end):
        shown = new[-1:] or [now.astimezone(info)]
        for fields, own in ticks:
            if any(map(fields.match, shown if fields.has_each else new)):
                own.append(now)
    return found


def numbers(field: str, least: int, greatest: int) -> set[int]:
    found: set[int] = set()
    for term in field.split(","):
        body, _, step = term.partition("/")
        low, _, high = (f"{least}-{greatest}" if body == "*" else body).partition("-")
        found.update(range(int(low), int(high or low) + 1, int(step or 1)))
    return found


def changes(zone: str, first: int, last: int) -> list[datetime]:
    """The hours, in UTC, within which a zone's clocks are changed in these years."""
    info = ZoneInfo(zone)
    hour = datetime(first, 1, 1, tzinfo=UTC)
    found: list[datetime] = []
    while hour.year <= last:
        day = hour + timedelta(days=1)
        if hour.astimezone(info).utcoffset() != day.astimezone(info).utcoffset():
            while (
                hour.astimezone(info).utcoffset()
                == (hour + timedelta(hours=1)).astimezone(info).utcoffset()
            ):
                hour += timedelta(hours=1)
            found.append(hour)
            day = hour + timedelta(hours=1)
        hour = day
    return found


def random_field(rng: random.Random, least: int, greatest: int) -> str:
    low, high = sorted(rng.sample(range(least, greatest + 1), 2))
    step = rng.choice([2, 3, 5, 15]) if greatest > 15 else 2
    singles = ["*", "*", f"*/{step}", str(low), str(low)]
    return rng.choice([*singles, f"{low},{high}", f"{low}-{high}", f"{low}-{high}/{step}"])


def random_expression(rng: random.Random) -> str:
    fields = [random_field(rng, 0, 59), random_field(rng, 0, 23)]
    if rng.random() < 0.5:
        # The hours at which clocks are changed.
        fields[1] = rng.choice(["*", "*/2", "0", "1", "2", "3", "1-3", "0,2", "23", "0-23"])
    fields += rng.choice([["*", "*", "*"], ["*", "*", random_field(rng, 0, 7)]])
    if rng.random() < 0.2:
        fields[2] = random_field(rng, 1, 31)
    return " ".join(fields)


@thorough
@pytest.mark.parametrize("zone", MANY_ZONES if IS_THOROUGH else FEW_ZONES)
def test_ticks_around_changes_of_clocks_are_those_of_a_walk_through_the_minutes(zone: str) -> None:
    rng = random.Random(zone)
    around = timedelta(days=3 if IS_THOROUGH else 1)
    nights = changes(zone, 2020 if IS_THOROUGH else 2025, 2029 if IS_THOROUGH else 2025)
    for night in nights or [datetime(2025, 3, 1, tzinfo=UTC)]:
        begin = night - around
        expressions = [random_expression(rng) for _ in range(tries(4, 3))]
        for expression, expected in walked(zone, begin, night + around, expressions).items():
            ticks = until(night + around, expression, zone, begin)
            assert ticks == expected, f"{expression} in {zone}, around {night}"
            # Asked anew at any instant, the answer is the same.
            for _ in range(4):
                anew = begin + rng.random() * 2 * around
                rest = [tick for tick in expected if tick > anew]
                assert until(night + around, expression, zone, anew) == rest, (expression, anew)


@pytest.mark.long
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe"])
def test_ticks_of_ten_years_are_those_of_a_walk_through_all_minutes(zone: str) -> None:
    begin, end = datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)
    expressions = "30 2 * * *", "*/15 * * * 1-5", "0 0-4 * * *", "10 1,2 1-7 * 0", "59 */2 * * *"
    for expression, expected in walked(zone, begin, end, expressions).items():
        assert until(end, expression, zone, begin) == expected, expression


def until(end: datetime, expression: str, zone: str, after: datetime) -> list[datetime]:
    ticks = m25.next_ticks(expression, timezone=zone, after=after)
    return list(itertools.takewhile(lambda tick: tick <= end, ticks))


def test_a_time_that_is_skipped_runs_once_at_the_end_of_the_gap() -> None:
    begin = datetime(2026, 3, 28, 12, tzinfo=UTC)
    ticks = m25.next_ticks("10,30 2 * * *", timezone="Europe/Berlin", after=begin)
    assert next(ticks) == datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert next(ticks) == datetime(2026, 3, 30, 0, 10, tzinfo=UTC)


def test_a_day_that_is_skipped_runs_at_the_beginning_of_the_next() -> None:
    # Samoa had no 30th of December in 2011.
    begin = datetime(2011, 12, 30, 9, tzinfo=UTC)
    ticks = m25.next_ticks("0 12 30,31 * *", timezone="Pacific/Apia", after=begin)
    assert [str(next(ticks).astimezone(ZoneInfo("Pacific/Apia"))) for _ in range(2)] == [
        "2011-12-31 00:00:00+14:00",
        "2011-12-31 12:00:00+14:00",
    ]


def test_a_time_that_comes_twice_is_not_named_again_in_the_second_pass() -> None:
    for minute in range(180):
        after = datetime(2026, 10, 25, 0, tzinfo=UTC) + minute * MINUTE
        tick = next(m25.next_ticks("30 2 * * *", timezone="Europe/Berlin", after=after))
        first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
        assert tick == (first if after < first else datetime(2026, 10, 26, 1, 30, tzinfo=UTC))


def test_names_and_both_numbers_of_sunday_are_taken() -> None:
    after = datetime(2026, 1, 1, tzinfo=UTC)
    for sunday in ("0", "7", "SUN", "sun"):
        tick = next(m25.next_ticks(f"0 6 * jan-feb {sunday}", after=after))
        assert tick == datetime(2026, 1, 4, 6, tzinfo=UTC)


def test_an_iterator_ends_where_no_day_is_left_in_the_calendar() -> None:
    after = datetime(9998, 1, 1, tzinfo=UTC)
    assert len(list(m25.next_ticks("0 0 1 1 *", after=after))) == 1


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ("* * * *", "4 fields"),
        ("0 * * * * *", "6 fields"),
        ("", "0 fields"),
        ("60 * * * *", "field of the minute"),
        ("0 24 * * *", "field of the hour"),
        ("0 0 L * *", "field of the day of the month"),
        ("0 0 LW * *", "field of the day of the month"),
        ("0 0 0 * *", "field of the day of the month"),
        ("0 0 * 13 *", "field of the month"),
        ("0 0 * MON *", "field of the month"),
        ("0 0 * * MON#2", "field of the day of the week"),
        ("0 0 * * 5L", "field of the day of the week"),
        ("5/15 * * * *", "field of the minute"),
        ("*/90 * * * *", "field of the minute"),
        ("*/0 * * * *", "field of the minute"),
        ("30-10 * * * *", "field of the minute"),
        ("1,,2 * * * *", "field of the minute"),
        ("0 0 31 2 *", "matches no day"),
        (5, "a text of five fields"),
    ],
)
def test_what_is_no_standard_cron_expression_is_refused_by_its_field(
    expression: str, named: str
) -> None:
    with pytest.raises(m25.errors.InvalidSchedule, match=named):
        m25.next_ticks(expression, after=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "", "../etc/passwd", None, "Europe"])
def test_what_is_no_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(m25.errors.InvalidSchedule, match="timezone must be the name of a zone"):
        m25.next_ticks("0 0 * * *", timezone=zone, after=datetime(2026, 1, 1, tzinfo=UTC))


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        m25.next_ticks("0 0 * * *", after=datetime(2026, 1, 1))  # noqa: DTZ001
