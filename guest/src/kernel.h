/* Parts of the kernel's interface that the C library has no declarations for. */
#ifndef CAISSON_KERNEL_H
#define CAISSON_KERNEL_H

#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

/* openat2(2); linux/openat2.h */
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
enum { RESOLVE_NO_MAGICLINKS = 0x02, RESOLVE_NO_SYMLINKS = 0x04, RESOLVE_BENEATH = 0x08 };
struct open_how {
    uint64_t flags;
    uint64_t mode;
    uint64_t resolve;
};

/* random(4); linux/random.h */
enum { ENTROPY_BYTES_MOST = 512 };
struct rand_pool_info {
    int entropy_count;
    int buf_size;
    uint8_t buf[ENTROPY_BYTES_MOST];
};
#define RNDADDENTROPY _IOW('R', 0x03, int[2])
#define RNDRESEEDCRNG _IO('R', 0x07)

/* vsock(7); linux/vm_sockets.h */
#define VMADDR_CID_ANY UINT32_MAX
struct sockaddr_vm {
    sa_family_t svm_family;
    uint16_t svm_reserved1;
    uint32_t svm_port;
    uint32_t svm_cid;
    uint8_t svm_flags;
    uint8_t svm_zero[3];
};

/* mlockall(2) */
#ifndef MCL_ONFAULT
#define MCL_ONFAULT 4
#endif

#endif
