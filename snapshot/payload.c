/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How many raw bytes follow a message in its image. */
#include "snapshot/snapshot.h"

/* More than any file can have when the sum would overflow. */
static size_t padded(uint64_t len, uint64_t to)
{
	return len > SIZE_MAX / 2 ? SIZE_MAX / 2 : (len + to - 1) / to * to;
}

size_t snapshot_payload_len(enum image_id type, const void *msg)
{
	switch (type) {
	case IMG_PIPES_DATA:
	case IMG_FIFO_DATA:
		return ((const PipeDataEntry *)msg)->bytes;
	case IMG_SK_QUEUES:
		return ((const SkPacketEntry *)msg)->length;
	case IMG_BPFMAP_DATA:
		return (size_t)((const BpfmapDataEntry *)msg)->keys_bytes +
			((const BpfmapDataEntry *)msg)->values_bytes;
	case IMG_IPCNS_SHM: {
		const IpcShmEntry *e = msg;

		return e->has_in_pagemaps && e->in_pagemaps ? 0 : padded(e->size, 4);
	}
	case IMG_IPCNS_SEM:
		return padded((uint64_t)((const IpcSemEntry *)msg)->nsems * sizeof(uint16_t), 8);
	default:
		return 0;
	}
}
