// SPDX-License-Identifier: GPL-2.0-or-later
/* How many raw bytes follow a message in its image. */
#include "snapshot/snapshot.h"

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
	default:
		return 0;
	}
}
