// What is mounted here, as /proc/self/mountinfo tells it. Start-up of the doctor only.
#pragma once

#include <string>
#include <vector>

namespace keyhole::runtime::doctor {

struct mount {
    std::string root;  ///< within its file system
    std::string where;
    std::string options;
    std::string type;
};

std::vector<mount> mounts();

}  // namespace keyhole::runtime::doctor
