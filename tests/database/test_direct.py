"""One plain connection: what its statements say, whatever database it is and however long they are."""

from xiaohao.database.direct import Direct, ForRows, dialect_of
from xiaohao.database.engine import Database

_SUMS = "WITH given(a, b) AS (VALUES {rows}) SELECT CAST(b AS TEXT), count(*) FROM given GROUP BY 1"


async def test_more_parameters_than_a_driver_remembers_and_a_percent_sign(database: Database) -> None:
    direct = Direct(database.url)
    like = "WHERE CAST(a AS TEXT) NOT LIKE '9%%'" if not database.is_sqlite else "WHERE a NOT LIKE '9%'"
    counted = _SUMS.replace("GROUP BY", f"{like} GROUP BY")
    statement = ForRows(
        dialect_of(database.url.get_backend_name()), 2, lambda rows: counted.format(rows=rows)
    )
    rows = [(f"{n}%s", "even" if n % 2 == 0 else "odd") for n in range(64)]
    with direct.write() as cursor:
        found = statement.fetch(cursor, rows)
    with direct.read() as cursor:
        cursor.execute("SELECT '5%'")
        assert cursor.fetchall() == [("5%",)]
    direct.close()
    # 64 rows are read in two parts; 9 begins with a 9, and no other
    assert sorted(found) == [("even", 16), ("even", 16), ("odd", 15), ("odd", 16)]
