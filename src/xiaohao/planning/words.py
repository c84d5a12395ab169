"""What a picture says, in both languages."""

from dataclasses import dataclass
from enum import StrEnum


class Language(StrEnum):
    """The language of a picture's or table's words."""

    ENGLISH = "en"
    CHINESE = "zh"


@dataclass(frozen=True, slots=True)
class Words:
    """Texts with places for figures, as `str.format` knows them."""

    title: str
    drivers_title: str
    driver: str
    former_driver: str
    own_number: str
    resting_number: str
    passengers_title: str
    passengers_note: str
    alive: str
    rests: str
    hours: str
    passenger: str
    table_title: str
    columns: tuple[str, ...]
    total: str
    shared: str
    curve_title: str
    curve_x: str
    curve_y: str
    own: str
    periods: tuple[tuple[int, str], ...]
    none: str


ENGLISH = Words(
    title="Numbers needed: {x:,} for drivers (X), {y:,} for passengers (Y)",
    drivers_title="Numbers for drivers: one X each, and those of drivers who left, until they have rested",
    driver="Driver {n}",
    former_driver="Left",
    own_number="X{n}, this driver's own",
    resting_number="X{n} rests for {rest}, then goes to the next driver",
    passengers_title="Numbers for passengers: which Y stands for whom (three drivers share one pool)",
    passengers_note="as the platform allocates: {calls:.0f} calls a day for each, recycle period {rest}",
    alive="call reserved",
    rests="rests",
    hours="hour of the day",
    passenger="P{n}",
    table_title="Totals by city, refusing at most {blocking:.4%} of the reservations",
    columns=("City", "Drivers", "X", "Calls/day", "Y", "Refused"),
    total="Total",
    shared="With one pool for all cities: {y:,} Y",
    curve_title="What another recycle period needs",
    curve_x="recycle period",
    curve_y="numbers for passengers (Y)",
    own="planned\n{y:,}",
    periods=((86_400, "{n:g} d"), (3600, "{n:g} h"), (60, "{n:g} min"), (1, "{n:g} s")),
    none="none",
)
CHINESE = Words(
    title="号码需求：司机号码（X）{x:,} 个，乘客号码（Y）{y:,} 个",
    drivers_title="司机号码需求：每位司机固定占用一个 X；离职司机的 X 静置期满后再分配",
    driver="司机{n}",
    former_driver="已离职",
    own_number="X{n}：该司机专用",
    resting_number="X{n} 静置 {rest}，之后分配给新司机",
    passengers_title="乘客号码需求：哪个 Y 代表哪位乘客（三位司机共用号码池，同一个 Y 可同时服务多位司机）",
    passengers_note="由平台分配程序实际生成：每位司机每天 {calls:.0f} 次预约呼叫，回收周期 {rest}",
    alive="预约呼叫有效",
    rests="静置（回收周期）",
    hours="一天中的时刻",
    passenger="乘{n}",
    table_title="各城市合计（预约失败率不超过 {blocking:.4%}）",
    columns=("城市", "司机", "X", "呼叫/天", "Y", "失败/天"),
    total="合计",
    shared="若所有城市共用一个号码池：Y {y:,} 个",
    curve_title="不同回收周期所需号码",
    curve_x="回收周期",
    curve_y="乘客号码（Y）数量",
    own="当前方案\n{y:,}",
    periods=((86_400, "{n:g} 天"), (3600, "{n:g} 小时"), (60, "{n:g} 分钟"), (1, "{n:g} 秒")),
    none="不静置",
)
WORDS = {Language.ENGLISH: ENGLISH, Language.CHINESE: CHINESE}


def period(seconds: float, words: Words) -> str:
    """A length of time as a person says it."""
    for size, text in words.periods:
        if seconds >= size:
            return text.format(n=round(seconds / size, 1))
    return words.none
