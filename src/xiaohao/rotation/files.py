"""Where the keys lie before, during and after a rotation: no crash leaves a key away that is needed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from xiaohao.secrecy import Vault
from xiaohao.settings import Settings, read_key, sync_folder, write_key


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """The files of one rotation. `in_use` None: the key in use comes from the environment."""

    in_use: Path | None
    coming: Path

    @classmethod
    def of(cls, settings: Settings, coming: Path | None, from_environment: bool) -> "KeyFiles":
        """`coming` None: beside the file in use, with `.new` behind its name."""
        in_use = Path(settings.secrets.master_key_file)
        beside = in_use.with_name(f"{in_use.name}.new")
        return cls(None if from_environment else in_use, coming or beside)

    def new_key(self, random: Callable[[], bytes]) -> bytes:
        """The key to come: read, or made and safely on the disk. Raises SettingsError, OSError."""
        if not self.coming.exists():
            write_key(self.coming, random())
        return read_key(self.coming)

    def swap(self, old: bytes) -> Path | None:
        """Put the new key in the place of the old one, which is kept under its id; gives that file.

        Does nothing (None) where the key in use comes from the environment.
        """
        if self.in_use is None:
            return None
        kept = self.in_use.with_name(f"{self.in_use.name}.{Vault(old).key_id:08x}")
        if not kept.exists():
            write_key(kept, old)
        self.coming.replace(self.in_use)
        sync_folder(self.in_use.parent)
        return kept
