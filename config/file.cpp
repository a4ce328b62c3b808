#include "config/file.hpp"

#include "config/secret.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace keyhole::config {
namespace {

class descriptor {
public:
    explicit descriptor(const std::string& path)
        : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY))
    {
    }
    ~descriptor()
    {
        if (fd_ >= 0) ::close(fd_);
    }
    descriptor(const descriptor&) = delete;
    descriptor& operator=(const descriptor&) = delete;
    int get() const noexcept { return fd_; }

private:
    int fd_;
};

std::string reason(std::string what)
{
    return std::move(what) + ": " + std::generic_category().message(errno);
}

}  // namespace

file_bytes::~file_bytes()
{
    wipe(bytes_.data(), bytes_.size());
}

std::variant<file_bytes, std::string> read_small_file(const std::string& path, std::size_t limit)
{
    const descriptor file(path);
    if (file.get() < 0) return reason("cannot be opened");
    struct stat about{};
    if (::fstat(file.get(), &about) != 0) return reason("cannot be read");
    if (!S_ISREG(about.st_mode)) return "is not a regular file";

    file_bytes content(limit + 1);
    content.mode_ = about.st_mode & 07777;
    while (content.size_ < content.bytes_.size()) {
        const ssize_t n =
            ::read(file.get(), content.bytes_.data() + content.size_, content.bytes_.size() - content.size_);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return reason("cannot be read");
        if (n == 0) return content;
        content.size_ += static_cast<std::size_t>(n);
    }
    return "is larger than " + std::to_string(limit) + " bytes";
}

}  // namespace keyhole::config
