# SPDX-License-Identifier: MIT
"""What images may ask for, whatever they say (the C side's stand in image/limits.h)."""

# One message, in bytes; the largest real ones (an address space of a million areas) take a quarter.
MESSAGE_MAX = 256 << 20
# Parsed form of a message: so many bytes for each of its own, and what is free in any case.
GROWTH = 160
GROWTH_FREE = 64 << 10
# What all messages of one image may take beyond that: an epoll file with thousands of watches.
GROWTH_SPARE = 4 << 20
# The same for who looks at images of strangers: a file that is all empty messages must not cost
# fifty times its size. Real address spaces need more; they are read area by area (ImageSet.mm()).
GROWTH_STRICT = 3
# Depth of messages within messages; protobuf itself stops at 100.
DEPTH_MAX = 64
# Tasks and threads of one set: as many ids as the kernel has (PID_MAX_LIMIT).
IDS_MAX = 4 << 20
# Files up to this size are read, larger ones mapped: a mapping costs more than such a read.
READ_MAX = 64 << 10
PAGE = 4096
