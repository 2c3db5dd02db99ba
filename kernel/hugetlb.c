// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel/hugetlb.h"
#include <errno.h>

int hugetlb_too_few(uint64_t size, struct err *err)
{
	return err_set(err, ERR_RESOURCE, ENOMEM, "too few huge pages of %lu KiB are free (sysctl "
		"vm.nr_hugepages, or nr_hugepages in /sys/kernel/mm/hugepages)", size / 1024);
}
