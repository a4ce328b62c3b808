// Looks through directories as far as this process may, without following links or entering other mounts. All
// tops are read in turns, each breadth first, so that a large one hides no other. It ends at a bound, and
// then says what was not seen. Start-up of the doctor only, one thread.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace keyhole::runtime::doctor {

struct walk_bound {
    std::size_t names = 1'000'000;
    int seconds = 20;
};

/// One name of a directory; valid during the call.
struct met {
    const std::string& directory;
    int fd;              ///< of the directory
    const char* name;    ///< without a slash
    unsigned char type;  ///< DT_REG and its kind, never DT_UNKNOWN while it exists

    std::string path() const;
};

struct walk_result {
    std::size_t names = 0;
    std::vector<std::string> unfinished;  ///< the tops that were not seen to their end
    std::string why;                      ///< that they were not
};

/// A top may be a link. `borders` are met, but not entered (but for tops). A directory that this process may
/// not list is none.
walk_result walk(const std::vector<std::string>& tops, const std::vector<std::string>& borders,
                 const std::function<void(const met&)>& visit, walk_bound bound = {});

}  // namespace keyhole::runtime::doctor
