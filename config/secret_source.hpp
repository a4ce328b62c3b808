// Where secrets come from: the environment or a file, named by a reference, never written into the
// configuration itself. KEY_STAYS_HOME: what is found wrong with one is said without a byte of it. Thread
// rule: used by load() alone.
#pragma once

#include "config/node.hpp"
#include "config/secret.hpp"

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace keyhole::config {

class secret_source {
public:
    /// A file that held a secret, for the check that it stands apart from sockets and configuration.
    struct file {
        std::string path;
        std::string where;
        std::string key;
    };

    secret_source(std::function<const char*(const char*)> environment, findings& out);

    /// The secret that the reference `at` ("env:NAME", "file:/path") names; nullptr: a problem was noted.
    secret_ptr read(const node& at, const std::string& key, std::string_view owner);

    /// The secret in the variable `name`, or in the file that NAME_FILE names; nullptr: neither is set, or a
    /// problem was noted.
    secret_ptr from_variable(const std::string& name, const std::string& key, std::string_view owner);
    /// One of the two is set.
    bool has_variable(const std::string& name) const;

    /// A variable's value; nullptr: not set or empty.
    const char* variable(const std::string& name) const;

    const std::vector<file>& files() const noexcept { return files_; }

private:
    secret_ptr from_file(const std::string& path, const std::string& where, const std::string& key,
                         std::string_view owner);
    secret_ptr checked(std::string_view value, const std::string& where, const std::string& key);

    std::function<const char*(const char*)> environment_;
    findings& out_;
    std::vector<file> files_;
    bool said_unlocked_ = false;
};

}  // namespace keyhole::config
