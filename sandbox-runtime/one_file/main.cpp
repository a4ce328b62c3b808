// keyhole-init and keyhole-bridge in one static file, which is what the images carry: most of either is the C
// and C++ library. The name it is called by chooses; keyhole-bridge is a symbolic link.
#include "sandbox-runtime/one_file/mains.hpp"

#include <cstring>

int main(int argc, char** argv, char** envp)
{
    const char* name = argc > 0 ? argv[0] : "";
    if (const char* slash = std::strrchr(name, '/'); slash != nullptr) name = slash + 1;
    const bool bridge = std::strcmp(name, "keyhole-bridge") == 0;
    return bridge ? keyhole_bridge_main(argc, argv, envp) : keyhole_init_main(argc, argv, envp);
}
