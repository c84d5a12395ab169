"""The command line: what an operator can put right is said in one clear line each."""

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from xiaohao import __version__
from xiaohao.cli import main
from xiaohao.edge import rtpengine
from xiaohao.edge.addresses import listeners
from xiaohao.runtime.check import RANGES, problems
from xiaohao.settings import KEY_VARIABLE, Settings


@dataclass
class Said:
    """What a command printed, and its exit status."""

    status: object
    out: str
    error: str


Xiaohao = Callable[..., Said]


@pytest.fixture
def xiaohao(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Xiaohao:
    """Runs a command line in the test's folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["xiaohao", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        captured = capsys.readouterr()
        return Said(end.value.code, captured.out, captured.err)

    return run


def test_version(xiaohao: Xiaohao) -> None:
    assert xiaohao("version") == Said(0, f"{__version__}\n", "")


@pytest.mark.parametrize(
    "command", ["up", "edge", "switch", "web", "worker", "migrate", "status", "check-config"]
)
def test_a_missing_configuration_is_one_clear_line(command: str, xiaohao: Xiaohao) -> None:
    said = xiaohao(command)
    assert said.status == 1
    assert re.fullmatch(r"xiaohao: there is no configuration file xiaohao\.toml: .*\n", said.error)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[web]\nlisten = 8080", "xiaohao.toml: Expected `str`, got `int` - at `$.web.listen`"),
        ("[webb]", "xiaohao.toml: Object contains unknown field `webb`"),
        ("[web", "xiaohao.toml: "),
        ('[database]\nurl = "mysql://host/name"', "database.url: must be"),
        ('[edge]\nlisten = ["udp:0.0.0.0:5060"]', "edge.advertise: needed, because"),
        ('[media]\ninterface = "0.0.0.0"', "media.interface: 0.0.0.0 is no address that carriers could"),
        ("[notifications]\nretry_s = []", "notifications.retry_s: must name at least one pause"),
        ("[notifications]\nat_once = 0", "notifications.at_once: must be between 1 and 1000"),
    ],
)
def test_a_wrong_configuration_is_one_clear_line(
    text: str, said: str, xiaohao: Xiaohao, tmp_path: Path
) -> None:
    (tmp_path / "xiaohao.toml").write_text(text)
    done = xiaohao("check-config")
    assert done.status == 1
    assert done.error.startswith(f"xiaohao: {said}")
    assert len(done.error.splitlines()) == 1


def test_keys_are_made_for_the_operator_and_for_customers_that_exist(
    xiaohao: Xiaohao, tmp_path: Path
) -> None:
    (tmp_path / "xiaohao.toml").touch()
    made = xiaohao("key", "create", "--operator")
    assert re.fullmatch(r"xk_op_[0-9a-f]{64}\n", made.out)
    unknown = xiaohao("key", "create", "--customer", "cus_nobody")
    assert (unknown.status, unknown.error) == (1, "xiaohao: There is no such customer.\n")
    assert xiaohao("key", "create").status == 2


def test_a_damaged_master_key_is_one_clear_line(xiaohao: Xiaohao, tmp_path: Path) -> None:
    (tmp_path / "xiaohao.toml").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "master.key").write_text("not hexadecimal")
    assert xiaohao("key", "create", "--operator").error == (
        "xiaohao: secrets.master_key_file: master.key: the master key must be 64 hex digits\n"
    )


def test_a_database_that_is_away_is_one_clear_line(xiaohao: Xiaohao, tmp_path: Path) -> None:
    (tmp_path / "xiaohao.toml").write_text('[database]\nurl = "sqlite:///xiaohao.toml/xiaohao.db"')
    said = xiaohao("key", "create", "--operator")
    assert said.status == 1
    assert said.error.startswith("xiaohao: ")
    assert len(said.error.splitlines()) == 1


@pytest.mark.parametrize("command", ["up", "edge"])
def test_a_folder_that_cannot_be_made_is_one_clear_line(
    command: str, xiaohao: Xiaohao, tmp_path: Path
) -> None:
    (tmp_path / "xiaohao.toml").write_text('runtime_folder = "xiaohao.toml/run"')
    said = xiaohao(command)
    assert said.status == 1
    assert re.fullmatch(r"xiaohao: \S+/xiaohao\.toml/run\S*: Not a directory\n", said.error)


@pytest.mark.parametrize("command", ["switch", "worker"])
def test_an_empty_database_is_one_clear_line(command: str, tmp_path: Path) -> None:
    (tmp_path / "xiaohao.toml").write_text('[database]\nurl = "sqlite:///x.db"\n')
    done = subprocess.run(
        [sys.executable, "-m", "xiaohao.cli", command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        "xiaohao: the database has not the schema of this version: run `xiaohao mig"
    )


def test_an_address_that_is_not_this_machines_is_told_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "xiaohao.toml").write_text('[web]\nlisten = "192.0.2.1:8080"')  # RFC 5737
    done = subprocess.run(
        [sys.executable, "-m", "xiaohao.cli", "web"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "cannot assign requested address" in done.stderr.splitlines()[-1]


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv(KEY_VARIABLE, "00" * 32)
    return Settings()


def test_the_defaults_have_no_mistake(settings: Settings) -> None:
    assert problems(settings) == []


def test_every_mistake_is_named_with_its_key(settings: Settings, tmp_path: Path) -> None:
    settings.database.url = "postgresql://host"
    settings.edge.listen = ["sctp:127.0.0.1:5060", "tls:localhost:5061", "udp:127.0.0.1:0"]
    settings.edge.tls_certificate = str(tmp_path / "missing.pem")
    settings.edge.rpc = "127.0.0.1"
    settings.media.port_min = 80
    settings.media.interface = "eth0"
    settings.media.advertise = "sbc.example.com"
    settings.worker.listen = settings.web.listen
    found = problems(settings)
    for said in (
        "database.url: must be",
        "edge.listen: 'sctp:127.0.0.1:5060' must begin with",
        "edge.listen: 'localhost' must be an IP address",
        "edge.listen: 0 is not a port",
        "edge.tls_certificate: there is no file",
        "edge.tls_private_key: needed to listen with TLS",
        "edge.rpc: '127.0.0.1' is not of the form host:port",
        "media.port_min: must be between 1024 and 65535",
        "media.interface: 'eth0' must be an IP address",
        "media.advertise: 'sbc.example.com' must be an IP address",
        "tcp:127.0.0.1:8080 is given to 2 listeners",
    ):
        assert any(problem.startswith(said) for problem in found), said
    assert len(found) == 11


@pytest.mark.parametrize("command", ["up", "edge"])
def test_audio_at_an_address_of_another_machine(command: str, xiaohao: Xiaohao, tmp_path: Path) -> None:
    """rtpengine would start, and have no port for any call."""
    (tmp_path / "xiaohao.toml").write_text('[media]\ninterface = "203.0.113.9"\n')
    said = xiaohao(command)
    assert said.status == 1
    assert said.error.startswith("xiaohao: media.interface: 203.0.113.9 is no address of this machine")


def test_the_address_that_carriers_see(settings: Settings) -> None:
    settings.media.advertise = "203.0.113.7"
    assert problems(settings) == []
    assert "--interface=127.0.0.1!203.0.113.7" in rtpengine.command(settings)


def test_addresses_of_both_kinds(settings: Settings) -> None:
    settings.edge.listen += ["udp:[::1]:5060", "tls:[::]:5061"]
    settings.edge.tls_certificate = settings.edge.tls_private_key = __file__
    settings.media.interface = ["127.0.0.1", "::1"]
    settings.edge.advertise = settings.media.advertise = ["2001:db8::7", "203.0.113.7"]
    assert problems(settings) == []
    interfaces = [each for each in rtpengine.command(settings) if each.startswith("--interface")]
    assert interfaces == ["--interface=127.0.0.1!203.0.113.7", "--interface=::1!2001:db8::7"]
    assert {way: (each.bound, each.seen) for way, each in listeners(settings.edge).items()} == {
        "udp": ("udp:127.0.0.1:5060", "203.0.113.7:5060"),
        "tcp": ("tcp:127.0.0.1:5060", "203.0.113.7:5060"),
        "udp6": ("udp:[::1]:5060", "[2001:db8::7]:5060"),
        "tls6": ("tls:[::]:5061", "[2001:db8::7]:5061"),
    }


def test_nobody_else_reads_what_is_recorded(settings: Settings, tmp_path: Path) -> None:
    """Also where the folder was there before: a disk of its own, say, that everybody can look into."""
    settings.runtime_folder = str(tmp_path)
    settings.captures_folder.mkdir()
    settings.captures_folder.chmod(0o1777)
    rtpengine.command(settings)
    assert settings.captures_folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("listen", "wrong"),
    [
        ("udp:127.0.0.1:30002", True),
        ("udp:0.0.0.0:40000", True),
        ("udp:127.0.0.1:40001", False),
        ("tcp:127.0.0.1:30002", False),
        ("udp:127.0.0.2:30002", False),
    ],
)
def test_listening_among_the_ports_for_audio_is_a_mistake(
    listen: str, wrong: bool, settings: Settings
) -> None:
    settings.edge.listen, settings.edge.advertise = [listen], "203.0.113.7"
    said = f"edge.listen: {listen.rpartition(':')[2]} is one of the ports for audio"
    assert [problem.startswith(said) for problem in problems(settings)] == [True] * wrong


def test_every_number_has_limits(settings: Settings) -> None:
    """-1 days would delete every recording at once; 0 s, or 10 000 workers, would let no call through."""
    tables = {name: getattr(settings, name) for name in Settings.__struct_fields__}
    quantities = {
        f"{table}.{name}": value
        for table, values in tables.items()
        if isinstance(values, msgspec.Struct)
        for name, value in msgspec.structs.asdict(values).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    assert set(RANGES) == set(quantities)
    for key, (least, most) in RANGES.items():
        table, _, name = key.partition(".")
        for wrong in (least - 1, most + 1):
            setattr(tables[table], name, wrong)
            assert f"{key}: must be between {least} and {most}" in problems(settings)
        setattr(tables[table], name, quantities[key])
    assert problems(settings) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[calls]\nregion = "XX"', "calls.region: 'XX' is no ISO 3166 region, as CN"),
        ('[edge]\nadvertise = "a host"', "edge.advertise: 'a host' is neither an IP address"),
        ('[edge]\nadvertise = "203.0.113.7:5060"', "edge.advertise: '203.0.113.7:5060' is neither"),
        ("[media]\nport_min = 40000\nport_max = 40003", "media.port_min, media.port_max: must leave"),
        ('[edge]\nlisten = ["udp:::1:5060"]', "edge.listen: '::1:5060' is not of the form host:port"),
        ('[edge]\nlisten = ["udp:[::]:5060"]\n[media]\ninterface = "::1"', "edge.advertise: needed, because"),
        ('[edge]\nlisten = ["udp:[::1]:5060"]', "media.interface: needs an address of IPv6, because"),
        ('[media]\ninterface = "::1"', "media.interface: needs an address of IPv4, because"),
        ('[media]\ninterface = ["127.0.0.1", "127.0.0.2"]', "media.interface: more than one address of IPv4"),
        (
            '[edge]\nadvertise = "203.0.113.7"\nlisten = ["udp:[::]:5060"]\n[media]\ninterface = "::1"',
            "edge.advertise: needed, because",
        ),
        ('[media]\nadvertise = "2001:db8::7"', "media.advertise: '2001:db8::7' is of a kind that"),
        ('[media]\nng = "[::1]:2223"', "media.ng: '::1' must be an IPv4 address"),
        ('[announcements]\nlisten = "[::1]:5092"', "announcements.listen: '::1' must be an IPv4 address"),
    ],
)
def test_what_is_no_place_is_a_mistake(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "xiaohao.toml").write_text(text)
    (found,) = problems(Settings.load(tmp_path / "xiaohao.toml"))
    assert found.startswith(said)


def test_a_mark_in_front_of_the_file_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "xiaohao.toml").write_text('\ufeff[calls]\nregion = "SG"\n', "utf-8")
    assert problems(Settings.load(tmp_path / "xiaohao.toml")) == []


def test_listening_nowhere_is_a_mistake(settings: Settings) -> None:
    settings.edge.listen = []
    assert problems(settings) == ["edge.listen: must name at least one address"]


def test_numbers_from_a_file_and_back(xiaohao: Xiaohao, tmp_path: Path) -> None:
    (tmp_path / "xiaohao.toml").write_text("")
    assert xiaohao("migrate").status == 0
    numbers = tmp_path / "numbers.csv"
    numbers.write_text("号码,城市\n01062000001,\n4001234567,北京\n12,\n", encoding="gb18030")
    refused = xiaohao("numbers", "import", "numbers.csv", "--report", "report.csv")
    assert refused.status == 1
    assert "nothing was changed" in refused.out
    assert "is not a telephone number" in refused.out
    report = (tmp_path / "report.csv").read_text(encoding="utf-8-sig").splitlines()
    assert report[1:3] == ["2,added,+861062000001,,", "3,added,+864001234567,,"]
    assert report[3].startswith("4,refused,,number,")
    assert "dry run" in xiaohao("numbers", "import", "numbers.csv", "--dry-run", "--valid-only").out
    assert "imported" in xiaohao("numbers", "import", "numbers.csv", "--valid-only").out
    assert xiaohao("numbers", "export", "all.xlsx").out == "2 rows in all.xlsx\n"
    assert xiaohao("numbers", "export", "stock.csv", "--inventory").out == "3 rows in stock.csv\n"
    stock = (tmp_path / "stock.csv").read_text(encoding="utf-8-sig").splitlines()
    assert stock[1:] == [
        "400,10,北京,北京,,0,1,0,0,0,0,1",
        "landline,10,北京,北京,,0,1,0,0,0,0,1",
        "total,,,,,0,2,0,0,0,0,2",
    ]
    for wrong, why in (("numbers.pdf", "must end in"), ("none.csv", "No such file"), ("all.xlsx", "")):
        said = xiaohao("numbers", "import", wrong)
        assert why in said.error
        assert (said.status == 0) == (not why)
