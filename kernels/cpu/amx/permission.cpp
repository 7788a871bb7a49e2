#include "kernels/cpu/amx/permission.h"

#if defined(__linux__) && defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace fettle::kernels {

bool requestTiles() {
#if defined(__linux__) && defined(__x86_64__)
    constexpr long requestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
    constexpr long tileData = 18;               // XFEATURE_XTILEDATA
    static const bool granted = syscall(SYS_arch_prctl, requestPermission, tileData) == 0;
    return granted;
#else
    return false;
#endif
}

}  // namespace fettle::kernels
