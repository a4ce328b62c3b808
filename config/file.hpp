// A small file read whole, into memory that is wiped afterwards: it may hold a secret. Blocking; used at
// start-up.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <variant>
#include <vector>

namespace keyhole::config {

class file_bytes {
public:
    explicit file_bytes(std::size_t capacity) : bytes_(capacity) {}
    ~file_bytes();
    file_bytes(file_bytes&&) noexcept = default;
    file_bytes& operator=(file_bytes&&) = delete;

    std::string_view view() const noexcept { return {bytes_.data(), size_}; }
    mode_t mode() const noexcept { return mode_; }

private:
    friend std::variant<file_bytes, std::string> read_small_file(const std::string& path, std::size_t limit);
    std::vector<char> bytes_;
    std::size_t size_ = 0;
    mode_t mode_ = 0;
};

/// The file's content, or why not ("cannot be opened: No such file or directory"). Only regular files: a pipe
/// could hang.
std::variant<file_bytes, std::string> read_small_file(const std::string& path, std::size_t limit);

}  // namespace keyhole::config
