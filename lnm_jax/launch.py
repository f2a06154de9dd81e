"""What a training process needs from its surroundings, best before jax is imported."""

from __future__ import annotations

import os
import platform
import sys

# Huge pages, and freed memory kept: else glibc returns every block above 32 MiB to the system, and
# much of the threads' memory, so that each step faults its pages in again.
KEPT = 2**33  # bytes
SETTINGS = ("hugetlb=1", "arena_max=1", f"mmap_threshold={KEPT}", f"trim_threshold={KEPT}")
HUGE_PAGES = ":".join(f"glibc.malloc.{setting}" for setting in SETTINGS)
SWITCH = "LNM_HUGE_PAGES"


def use_huge_pages() -> None:
    """Starts this process again with huge pages and kept memory in glibc's allocator, once.

    Every training step maps fresh memory, and on a CPU the page faults cost a large share of
    it (keeping memory: 39,000 instead of 450,000 faults in 16 steps of ResNet-19 of width 64, and
    1.8 instead of 2.1 s a step). The allocator reads its tunables when a process starts, hence the
    restart. Only on Linux with glibc; not if GLIBC_TUNABLES is set, nor with LNM_HUGE_PAGES=0.
    """
    if (
        sys.platform != "linux"
        or platform.libc_ver()[0] != "glibc"
        or "GLIBC_TUNABLES" in os.environ
        or os.environ.get(SWITCH) == "0"
    ):
        return
    os.environ["GLIBC_TUNABLES"] = HUGE_PAGES
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def allocator() -> str:
    """The allocator's setting, in words."""
    tunables = os.environ.get("GLIBC_TUNABLES")
    if tunables == HUGE_PAGES:
        return f"huge pages by GLIBC_TUNABLES ({SWITCH}=0 switches them off)"
    return f"GLIBC_TUNABLES={tunables}" if tunables else "the system's default"


def use_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache directory, so that the next process has them.

    The command lines call it; a script or notebook calls `lnm_jax.use_compilation_cache()` before
    its first computation, before or after jax is imported. A directory that was chosen, by
    JAX_COMPILATION_CACHE_DIR or jax.config.jax_compilation_cache_dir, is kept, and
    JAX_ENABLE_COMPILATION_CACHE=false switches the cache off.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    directory = os.path.join(home, "lnm_jax", "compiled")
    chosen = os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", directory)
    jax = sys.modules.get("jax")  # which reads the variable when it is imported
    if jax and not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", chosen)
