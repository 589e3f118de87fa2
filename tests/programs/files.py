"""What programs do to files that a file server, or what stands for one, could get wrong. Runs as root with all rights:

    files.py volume FOLDER READ-ONLY PACKAGE     in a volume, beside one that cannot be written
    files.py root FOLDER PACKAGE                 in a folder of a pod's root, and on files that its image brought

Each check says its name when it has passed; the code tells how many did not."""

import errno
import fcntl
import mmap
import os
import shutil
import socket
import stat
import struct
import subprocess
import sys
import threading
import traceback

PLACE, TOP = sys.argv[1:3]
READ_ONLY = sys.argv[3]
PACKAGE = sys.argv[-1]


def path(name):
    return os.path.join(TOP, name)


def write(name, content=b"content"):
    with open(path(name), "wb") as file:
        file.write(content)
    return path(name)


def read(name):
    with open(path(name), "rb") as file:
        return file.read()


def fails(code, call, *args, **named):
    try:
        call(*args, **named)
    except OSError as error:
        assert error.errno == code, error
        return
    raise AssertionError(f"no {errno.errorcode[code]}")


def as_user(uid, call):
    """Runs it in a child of this user; its exit code."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            code = call() or 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def mode(name):
    return stat.S_IMODE(os.lstat(path(name)).st_mode)


def modes_and_owners():
    name = write("modes")
    for bits in (0o644, 0o4755, 0o2755, 0o6711, 0o1777, 0o0):
        os.chmod(name, bits)
        assert mode("modes") == bits, oct(mode("modes"))
    os.chown(name, 1000, 2000)
    assert (os.stat(name).st_uid, os.stat(name).st_gid) == (1000, 2000)
    os.mkdir(path("sticky"))
    os.chmod(path("sticky"), 0o1777)
    os.chown(write("sticky/hers"), 1001, 1001)
    assert as_user(1002, lambda: fails(errno.EPERM, os.unlink, path("sticky/hers"))) == 0
    os.mkdir(path("group"))
    os.chown(path("group"), 0, 77)
    os.chmod(path("group"), 0o2777)
    assert as_user(1002, lambda: write("group/new") and None) == 0
    found = os.stat(path("group/new"))
    assert (found.st_uid, found.st_gid) == (1002, 77), found


def set_id_bits_do_not_survive_writes():
    name = write("setid")
    for change in (lambda: open(name, "ab").write(b"x") and None, lambda: os.truncate(name, 3)):
        os.chown(name, 1000, 1000)
        os.chmod(name, 0o6777)
        assert as_user(1001, change) == 0
        assert mode("setid") == 0o777, oct(mode("setid"))
    os.chmod(name, 0o4755)
    os.chown(name, 5, 5)
    assert mode("setid") == 0o755, oct(mode("setid"))


def programs_run_with_set_id_bits_and_capabilities():
    secret = write("private", b"for root")
    os.chmod(secret, 0o600)
    copy = write("cat", open("/bin/cat", "rb").read())
    os.chmod(copy, 0o755)
    run = lambda: subprocess.run([copy, secret], capture_output=True).returncode
    assert as_user(1000, run) == 1
    os.chmod(copy, 0o4755)
    assert as_user(1000, run) == 0
    os.chmod(copy, 0o755)
    # CAP_DAC_READ_SEARCH, effective; of the second version, as tools write it.
    capability = struct.pack("<IIIII", 0x02000001, 1 << 2, 0, 0, 0)
    os.setxattr(copy, "security.capability", capability)
    assert os.getxattr(copy, "security.capability") == capability
    assert as_user(1000, run) == 0
    # Whoever changes the file takes them away.
    with open(copy, "ab") as file:
        file.write(b"x")
    fails(errno.ENODATA, os.getxattr, copy, "security.capability")


def hard_links():
    name = write("one")
    os.link(name, path("two"))
    first, second = os.stat(name), os.stat(path("two"))
    assert (first.st_ino, first.st_dev, first.st_nlink) == (second.st_ino, second.st_dev, 2)
    with open(path("two"), "ab") as file:
        file.write(b"+")
    assert read("one") == b"content+"
    os.unlink(name)
    assert os.stat(path("two")).st_nlink == 1 and read("two") == b"content+"


def open_files_outlive_their_names():
    name = write("doomed")
    file = os.open(name, os.O_RDWR)
    os.unlink(name)
    os.pwrite(file, b"C", 0)
    assert os.pread(file, 10, 0) == b"Content" and os.fstat(file).st_nlink == 0
    write("doomed", b"another")
    os.ftruncate(file, 3)
    assert os.pread(file, 10, 0) == b"Con" and read("doomed") == b"another"
    os.close(file)
    keep, gone = os.open(write("keep"), os.O_RDONLY), write("gone", b"new")
    os.rename(gone, path("keep"))
    assert os.read(keep, 10) == b"content" and read("keep") == b"new"
    os.close(keep)
    os.mkdir(path("dir"))
    folder = os.open(path("dir"), os.O_RDONLY)
    os.rmdir(path("dir"))
    fails(errno.ENOENT, os.open, "x", os.O_CREAT | os.O_WRONLY, dir_fd=folder)
    os.close(folder)


def nameless_files_get_names():
    if tuple(map(int, os.uname().release.split(".")[:2])) < (6, 2):
        # Such a guest cannot ask for them.
        return fails(errno.EOPNOTSUPP, os.open, TOP, os.O_TMPFILE | os.O_RDWR, 0o600)
    file = os.open(TOP, os.O_TMPFILE | os.O_RDWR, 0o600)
    os.write(file, b"nameless")
    folder = os.open(TOP, os.O_PATH)
    # With a folder named, the link is followed.
    os.link(f"/proc/self/fd/{file}", "named", dst_dir_fd=folder)
    os.close(folder)
    os.close(file)
    assert read("named") == b"nameless"


def renames_are_whole():
    write("target", b"0" * 100)
    wrong = []

    def replace():
        for number in range(100):
            os.rename(write("scratch", str(number % 10).encode() * 100), path("target"))

    writer = threading.Thread(target=replace)
    writer.start()
    while writer.is_alive():
        found = read("target")
        if len(found) != 100 or len(set(found)) != 1:
            wrong.append(found)
    writer.join()
    assert not wrong, wrong
    os.makedirs(path("a/b"))
    fails(errno.EINVAL, os.rename, path("a"), path("a/b/c"))
    os.mkdir(path("full"))
    write("full/x")
    fails(errno.ENOTEMPTY, os.rename, path("a"), path("full"))


def extended_attributes():
    name = write("attributes")
    os.setxattr(name, "user.note", b"\0binary\xff" * 100)
    assert os.getxattr(name, "user.note") == b"\0binary\xff" * 100
    assert os.listxattr(name) == ["user.note"]
    fails(errno.EEXIST, os.setxattr, name, "user.note", b"", os.XATTR_CREATE)
    fails(errno.ENODATA, os.setxattr, name, "user.other", b"", os.XATTR_REPLACE)
    os.removexattr(name, "user.note")
    fails(errno.ENODATA, os.getxattr, name, "user.note")
    if PLACE == "volume":
        # What only the host's root may have.
        fails(errno.EPERM, os.setxattr, name, "trusted.note", b"x")


def access_lists():
    name = write("listed")
    os.chmod(name, 0o600)
    entry = lambda tag, bits, who=0xFFFFFFFF: struct.pack("<HHI", tag, bits, who)
    rules = [entry(1, 6), entry(2, 4, 1000), entry(4, 0), entry(16, 4), entry(32, 0)]
    os.setxattr(name, "system.posix_acl_access", struct.pack("<I", 2) + b"".join(rules))
    assert mode("listed") == 0o640
    opens = lambda: open(name).close()
    assert as_user(1000, opens) == 0
    assert as_user(1001, lambda: fails(errno.EACCES, opens)) == 0


def mapped_memory():
    name = write("mapped", bytes(3 * 4096))
    file = os.open(name, os.O_RDWR)
    first = mmap.mmap(file, 3 * 4096)
    second = mmap.mmap(file, 3 * 4096)
    first[4090:4100] = b"over pages"
    assert second[4090:4100] == b"over pages"
    assert os.pread(file, 10, 4090) == b"over pages"
    os.pwrite(file, b"by a call", 100)
    assert first[100:109] == b"by a call"
    child = os.fork()
    if child == 0:
        second[0:5] = b"child"
        os._exit(0)
    os.waitpid(child, 0)
    assert first[0:5] == b"child"
    first.flush()
    first.close()
    second.close()
    os.close(file)
    assert read("mapped")[4090:4100] == b"over pages"


def locks():
    name = write("locked")
    mine = os.open(name, os.O_RDWR)
    fcntl.flock(mine, fcntl.LOCK_EX)
    theirs = os.open(name, os.O_RDWR)
    fails(errno.EAGAIN, fcntl.flock, theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(mine, fcntl.LOCK_UN)
    fcntl.flock(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.lockf(mine, fcntl.LOCK_EX, 10, 5)

    def contend():
        file = os.open(name, os.O_RDWR)
        fails(errno.EAGAIN, fcntl.lockf, file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 14)
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 15)

    assert as_user(0, contend) == 0
    os.close(mine)
    assert as_user(0, lambda: fcntl.lockf(os.open(name, os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)) == 0
    os.close(theirs)


def appends_are_whole():
    write("log", b"")

    def append():
        file = os.open(path("log"), os.O_WRONLY | os.O_APPEND)
        for _ in range(50):
            os.write(file, b"0123456789\n")
        os.close(file)

    threads = [threading.Thread(target=append) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read("log") == b"0123456789\n" * 150


def sparse_files():
    name = path("sparse")
    file = os.open(name, os.O_RDWR | os.O_CREAT)
    os.ftruncate(file, 64 << 20)
    os.pwrite(file, b"island", 32 << 20)
    os.fsync(file)
    assert os.stat(name).st_blocks < 1024, os.stat(name)
    assert os.lseek(file, 0, os.SEEK_DATA) == 32 << 20
    # Whichever size the blocks have.
    assert 0 < os.lseek(file, 32 << 20, os.SEEK_HOLE) - (32 << 20) <= 4096
    assert os.pread(file, 6, 32 << 20) == b"island" and os.pread(file, 6, 1 << 20) == bytes(6)
    os.posix_fallocate(file, 0, 1 << 20)
    assert os.stat(name).st_blocks >= 2048
    os.close(file)


def large_files_and_copies():
    block = bytes(range(256)) * 4096
    with open(path("large"), "wb") as file:
        for _ in range(4):
            file.write(block)
    assert os.stat(path("large")).st_size == 4 << 20
    source, target = os.open(path("large"), os.O_RDONLY), os.open(path("copy"), os.O_RDWR | os.O_CREAT)
    left = 4 << 20
    while left:
        left -= os.copy_file_range(source, target, left)
    assert read("copy") == block * 4


def devices_cannot_be_made():
    for kind in (stat.S_IFCHR, stat.S_IFBLK):
        fails(errno.EPERM, os.mknod, path("device"), kind | 0o666, os.makedev(1, 3))


def special_files():
    os.mkfifo(path("pipe"))
    reader = os.open(path("pipe"), os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(path("pipe"), os.O_WRONLY)
    os.write(writer, b"through")
    assert os.read(reader, 10) == b"through"
    server, client = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    server.bind(path("socket"))
    server.listen()
    client.connect(path("socket"))
    client.sendall(b"through")
    assert server.accept()[0].recv(10) == b"through"


def names_and_folders():
    fails(errno.ENAMETOOLONG, write, "x" * 256)
    os.unlink(write("x" * 255))
    odd = os.fsencode(TOP) + b"/\xff\n\\ name"
    os.close(os.open(odd, os.O_CREAT | os.O_WRONLY))
    assert b"\xff\n\\ name" in os.listdir(os.fsencode(TOP))
    os.unlink(odd)
    os.mkdir(path("many"))
    for number in range(400):
        os.close(os.open(path(f"many/{number}"), os.O_CREAT | os.O_WRONLY))
    found = set()
    with os.scandir(path("many")) as entries:
        for entry in entries:
            found.add(int(entry.name))
            os.unlink(entry.path)
    assert found == set(range(400))
    os.rmdir(path("many"))
    os.utime(write("time"), ns=(1_000_000_007, 2_000_000_009))
    assert os.stat(path("time")).st_mtime_ns == 2_000_000_009
    assert os.statvfs(TOP).f_blocks > 0


def links_lead_where_the_guest_says():
    os.symlink("/etc/passwd", path("absolute"))
    os.symlink("../" * 40 + "etc/passwd", path("relative"))
    # The volume is on its way: what is followed is followed here.
    for name in ("absolute", "relative"):
        assert os.path.samefile(path(name), "/etc/passwd"), name
    os.symlink("nowhere", path("dangling"))
    fails(errno.ENOENT, open, path("dangling"))
    os.symlink("loop", path("loop"))
    fails(errno.ELOOP, open, path("loop"))


def what_is_read_only_is_not_written():
    for call in (
        lambda: open(os.path.join(READ_ONLY, "new"), "w"),
        lambda: os.chmod(os.path.join(READ_ONLY, "given"), 0o600),
        lambda: os.unlink(os.path.join(READ_ONLY, "given")),
        lambda: os.rename(os.path.join(READ_ONLY, "given"), os.path.join(READ_ONLY, "x")),
        lambda: os.setxattr(os.path.join(READ_ONLY, "given"), "user.x", b""),
        lambda: os.utime(os.path.join(READ_ONLY, "given")),
        lambda: os.mkdir(os.path.join(READ_ONLY, "below/new")),
    ):
        fails(errno.EROFS, call)
    with open(os.path.join(READ_ONLY, "below/mounted")) as file:
        assert file.read() == "below"
    fails(errno.EXDEV, os.rename, write("mover"), os.path.join(READ_ONLY, "mover"))


def packages_are_unpacked():
    subprocess.run(["dpkg-deb", "--extract", PACKAGE, path("unpacked")], check=True)


def packages_are_installed():
    """By apt, which trusts files and asks nobody else: it locks, maps and renames as no other program does."""
    quiet = dict(check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    options = ["-o", "Dir::Etc::SourceList=/dev/null", "-o", "Dir::Etc::SourceParts=/dev/null"]
    for command in (["apt-get", "-y", *options, "install", PACKAGE], ["dpkg", "--install", PACKAGE]):
        subprocess.run(command, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, **quiet)
        for name, bits, group in (("plain", 0o644, 0), ("su", 0o4755, 0), ("wall", 0o2755, 5)):
            about = os.stat(f"/usr/libexec/x/{name}")
            assert (stat.S_IMODE(about.st_mode), about.st_gid) == (bits, group), (name, about)
            with open(f"/usr/libexec/x/{name}") as file:
                assert file.read() == name * 5000
        assert os.path.samefile("/usr/libexec/x/plain", "/usr/libexec/x/linked")
        assert os.readlink("/usr/libexec/x/symbolic") == "plain"
        with open("/var/lib/x-was-configured") as file:
            assert file.read() == "configured\n"
        os.unlink("/var/lib/x-was-configured")
    found = subprocess.run(["dpkg", "--verify", "x"], capture_output=True)
    assert (found.returncode, found.stdout) == (0, b""), found
    subprocess.run(["dpkg", "--purge", "x"], **quiet)
    assert not os.path.exists("/usr/libexec/x")
    found = subprocess.run(["dpkg", "--audit"], capture_output=True)
    assert (found.returncode, found.stdout) == (0, b""), found


def files_of_the_image_outlive_their_names():
    name = "/etc/debian_version"
    with open(name) as file:
        os.unlink(name)
        fails(errno.ENOENT, os.stat, name)
        assert "debian_version" not in os.listdir("/etc")
        assert len(file.read()) > 2
    with open(name, "w") as file:
        file.write("anew")
    with open(name) as file:
        assert file.read() == "anew"


def files_of_the_image_change():
    # More than the first write: bits, owner, times and attributes come along, whatever was the first change.
    program = shutil.which("passwd")
    assert stat.S_IMODE(os.stat(program).st_mode) == 0o4755
    os.utime(program, ns=(5, 7))
    about = os.stat(program)
    assert (stat.S_IMODE(about.st_mode), about.st_mtime_ns, about.st_size > 1000) == (0o4755, 7, True)
    os.link("/etc/group", "/etc/group.second")
    with open("/etc/group", "a") as file:
        file.write("added:x:4711:\n")
    with open("/etc/group.second") as file:
        assert file.read().endswith("added:x:4711:\n")
    # An overlay gives the second name another number; that they are one shows in the count.
    assert os.stat("/etc/group").st_nlink == os.stat("/etc/group.second").st_nlink == 2
    before = os.open("/etc/hosts.new", os.O_RDWR | os.O_CREAT)
    os.write(before, b"replaced")
    os.fsync(before)
    os.rename("/etc/hosts.new", "/etc/issue")
    with open("/etc/issue") as file:
        assert file.read() == "replaced"
    os.close(before)


def folders_of_the_image_change():
    assert len(os.listdir("/etc/skel")) > 0
    shutil.rmtree("/etc/skel")
    os.mkdir("/etc/skel")
    assert os.listdir("/etc/skel") == []
    # Whoever cannot rename it copies it.
    kept = sorted(os.listdir("/etc/dpkg"))
    subprocess.run(["mv", "/etc/dpkg", "/etc/moved"], check=True)
    assert sorted(os.listdir("/etc/moved")) == kept and not os.path.exists("/etc/dpkg")
    subprocess.run(["mv", "/etc/moved", "/etc/dpkg"], check=True)
    assert sorted(os.listdir("/etc/dpkg")) == kept


def everybody_writes_to_tmp():
    assert stat.S_IMODE(os.stat("/tmp").st_mode) == 0o1777

    def leave():
        with open("/tmp/of-1001", "w") as file:
            file.write("x")

    assert as_user(1001, leave) == 0
    assert as_user(1002, lambda: fails(errno.EPERM, os.unlink, "/tmp/of-1001")) == 0
    assert as_user(1001, lambda: os.unlink("/tmp/of-1001")) == 0


EVERYWHERE = (
    modes_and_owners,
    set_id_bits_do_not_survive_writes,
    programs_run_with_set_id_bits_and_capabilities,
    hard_links,
    open_files_outlive_their_names,
    nameless_files_get_names,
    renames_are_whole,
    extended_attributes,
    access_lists,
    mapped_memory,
    locks,
    appends_are_whole,
    sparse_files,
    large_files_and_copies,
    special_files,
    names_and_folders,
    links_lead_where_the_guest_says,
)
ELSEWHERE = {
    "volume": (devices_cannot_be_made, what_is_read_only_is_not_written, packages_are_unpacked),
    "root": (
        packages_are_installed,
        files_of_the_image_outlive_their_names,
        files_of_the_image_change,
        folders_of_the_image_change,
        everybody_writes_to_tmp,
    ),
}
failures = 0
for check in EVERYWHERE + ELSEWHERE[PLACE]:
    try:
        check()
        print(check.__name__, flush=True)
    except Exception:
        failures += 1
        traceback.print_exc(file=sys.stdout)
sys.exit(failures)
