#include "sandbox-runtime/doctor/walk.hpp"

#include "bridge/system.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace keyhole::runtime::doctor {
namespace {

constexpr std::size_t names_a_turn = 1024;

std::string joined(const std::string& directory, std::string_view name)
{
    std::string path = directory;
    if (!path.ends_with('/')) path += '/';
    return path.append(name);
}

// Nobody may list it, or it went meanwhile: nothing of it was missed.
bool is_no_loss(int error) noexcept
{
    return error == EACCES || error == EPERM || error == ENOENT || error == ENOTDIR || error == ELOOP;
}

unsigned char type_of(const met& each) noexcept
{
    struct stat info{};
    if (::fstatat(each.fd, each.name, &info, AT_SYMLINK_NOFOLLOW) != 0) return DT_UNKNOWN;
    return static_cast<unsigned char>(IFTODT(info.st_mode));
}

using sorted_paths = std::vector<std::string>;

struct closer {
    void operator()(DIR* stream) const noexcept { ::closedir(stream); }
};

// One top: the directory that is being read, and those that wait.
class place_to_look {
public:
    explicit place_to_look(std::string top) : top_(std::move(top)), waiting_{top_} {}

    const std::string& top() const noexcept { return top_; }
    bool is_done() const noexcept { return stream_ == nullptr && next_ == waiting_.size(); }
    int error() const noexcept { return error_; }  ///< of a directory that could not be read to its end

    /// At most `most` names; how many it were.
    std::size_t take_turn(std::size_t most, const sorted_paths& borders,
                          const std::function<void(const met&)>& visit)
    {
        std::size_t seen = 0;
        while (seen < most && (stream_ != nullptr || open_next())) {
            errno = 0;
            const dirent* entry = ::readdir(stream_.get());
            if (entry == nullptr) {
                if (errno != 0) error_ = errno;
                stream_.reset();
                continue;
            }
            const std::string_view name = entry->d_name;
            if (name == "." || name == "..") continue;
            ++seen;
            met each{open_, ::dirfd(stream_.get()), entry->d_name, entry->d_type};
            if (each.type == DT_UNKNOWN) each.type = type_of(each);
            if (each.type == DT_DIR)
                if (std::string path = joined(open_, name);
                    !std::binary_search(borders.begin(), borders.end(), path))
                    waiting_.push_back(std::move(path));
            visit(each);
        }
        return seen;
    }

private:
    bool open_next()
    {
        while (next_ < waiting_.size()) {
            open_ = std::move(waiting_[next_++]);
            if (next_ * 2 > waiting_.size()) {
                waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(next_));
                next_ = 0;
            }
            const int follow = open_ == top_ ? 0 : O_NOFOLLOW;
            const int fd = ::open(open_.c_str(), O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC | follow);
            stream_.reset(fd < 0 ? nullptr : ::fdopendir(fd));
            if (stream_ != nullptr) return true;
            if (!is_no_loss(errno)) error_ = errno;
            if (fd >= 0) ::close(fd);
        }
        return false;
    }

    std::string top_;
    std::vector<std::string> waiting_;  ///< from next_ on
    std::size_t next_ = 0;
    std::string open_;
    std::unique_ptr<DIR, closer> stream_;
    int error_ = 0;
};

}  // namespace

std::string met::path() const
{
    return joined(directory, name);
}

walk_result walk(const std::vector<std::string>& tops, const std::vector<std::string>& borders,
                 const std::function<void(const met&)>& visit, walk_bound bound)
{
    sorted_paths closed = borders;
    std::sort(closed.begin(), closed.end());
    std::vector<place_to_look> places;
    places.reserve(tops.size());
    for (const std::string& top : tops)
        places.emplace_back(top);
    const std::int64_t until = sys::now_ms() + std::int64_t{bound.seconds} * 1000;
    walk_result result;
    for (bool more = true; more && result.why.empty();) {
        more = false;
        for (place_to_look& each : places) {
            if (each.is_done()) continue;
            if (result.names >= bound.names)
                result.why = "there are more than " + std::to_string(bound.names) + " names";
            else if (sys::now_ms() >= until)
                result.why = "it takes longer than " + std::to_string(bound.seconds) + " s";
            if (!result.why.empty()) break;
            result.names += each.take_turn(std::min(names_a_turn, bound.names - result.names), closed, visit);
            more = true;
        }
    }
    for (const place_to_look& each : places) {
        if (each.is_done() && each.error() == 0) continue;
        result.unfinished.push_back(each.top());
        if (result.why.empty()) result.why = std::strerror(each.error());
    }
    return result;
}

}  // namespace keyhole::runtime::doctor
