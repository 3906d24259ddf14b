# A FUSE filesystem that is empty and says how full it is: while its process is stopped, whoever asks it waits.
# Without a library, since machines have none: the kernel's own messages, by <linux/fuse.h>.
import ctypes
import errno
import os
import struct
import sys
import time

LOOKUP, FORGET, GETATTR, STATFS, INIT = 1, 2, 3, 17, 26
OPENDIR, READDIR, RELEASEDIR, INTERRUPT, DESTROY = 27, 28, 29, 36, 38

place = sys.argv[1]
device = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={device},rootmode=40755,user_id=0,group_id=0,allow_other"
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"slow", place.encode(), b"fuse.slow", 0, options.encode()) != 0:
    sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")


def answer(code):
    """What is answered to a request: an error, and bytes."""
    if code == INIT:
        return 0, struct.pack("<IIIIHHII36x", 7, 31, 4096, 0, 8, 8, 4096, 1)
    if code == GETATTR:
        now = int(time.time())
        times = (now, now, now, 0, 0, 0)
        # Valid for no time: each look asks anew.
        return 0, struct.pack("<QIIQQQQQQIIIIIIIIII", 0, 0, 0, 1, 0, 0, *times, 0o40755, 2, 0, 0, 0, 4096, 0)
    if code == STATFS:
        return 0, struct.pack("<QQQQQIIII24x", 1000, 600, 500, 100, 50, 4096, 255, 4096, 0)
    if code == OPENDIR:
        return 0, struct.pack("<QII", 0, 0, 0)
    if code in (READDIR, RELEASEDIR, DESTROY):
        return 0, b""
    return (errno.ENOENT if code == LOOKUP else errno.ENOSYS), b""


while True:
    try:
        request = os.read(device, 1 << 17)
    except OSError as error:
        # It was unmounted.
        sys.exit(0 if error.errno == errno.ENODEV else str(error))
    _, code, unique = struct.unpack_from("<IIQ", request)
    if code in (FORGET, INTERRUPT):
        continue
    error, body = answer(code)
    os.write(device, struct.pack("<IiQ", 16 + len(body), -error, unique) + body)
