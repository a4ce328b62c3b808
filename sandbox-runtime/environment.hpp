// The agent's environment, built from the container's: what gave away the session is left out, what would run
// code in every child is left out, and what points the model clients at the bridge is added. Pure; start-up
// only; values that are left out are never copied.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace keyhole::runtime {

/// Hands the sandbox to its orchestrator: SESSION_TOKEN, CONTROL_*, KEYHOLE_*, … Never reaches the agent.
bool is_control_variable(std::string_view name) noexcept;
/// Makes a loader, shell or interpreter run something at start: LD_*, BASH_ENV, NODE_OPTIONS, … Kept only
/// when KEYHOLE_KEEP_ENV names it.
bool is_loader_variable(std::string_view name) noexcept;

class environment {
public:
    environment() = default;
    /// `keep`: loader variables that the agent may have. `drop`: more of the orchestrator's own, by name or
    /// as a prefix that ends with '*'.
    explicit environment(char** envp, std::vector<std::string> keep = {}, std::vector<std::string> drop = {});

    bool has(std::string_view name) const noexcept;  ///< set and not empty
    std::string_view get(std::string_view name) const noexcept;
    void set(std::string_view name, std::string_view value);
    void set_default(std::string_view name, std::string_view value);
    void remove(std::string_view name);
    /// Removes every variable whose value holds `secret`; their names.
    std::vector<std::string> remove_all_with(std::string_view secret);

    /// Whether the agent is not to have a variable of this name, wherever it comes from.
    bool is_dropped(std::string_view name) const noexcept;   ///< the orchestrator's
    bool is_withheld(std::string_view name) const noexcept;  ///< a loader's

    const std::vector<std::string>& entries() const noexcept { return entries_; }
    /// Names of loader variables that were left out, for a message.
    const std::vector<std::string>& left_out() const noexcept { return left_out_; }
    /// Overwrites all that it holds.
    void wipe() noexcept;
    /// For execve; valid until the next change.
    std::vector<char*> pointers();

private:
    std::vector<std::string> entries_;
    std::vector<std::string> left_out_;
    std::vector<std::string> keep_;
    std::vector<std::string> drop_;
};

/// The first of `entries` that holds a real-looking key and is not in `allowed`; empty: none. The name only.
std::string find_provider_key(const environment& env, const std::vector<std::string>& allowed);

/// A base URL is set by whoever started the container: the agent is meant to have a model.
bool expects_a_proxy(const environment& env) noexcept;

/// Base URLs for every client, placeholder keys without which SDKs refuse to start, switches that spare an
/// offline client its time-outs. What is already set stays as it is.
void add_client_defaults(environment& env, std::uint16_t port);

/// A name's value in a raw environment block, without a copy.
std::string_view raw_value(char** envp, std::string_view name) noexcept;
/// "A,B C" as words.
std::vector<std::string> split_words(std::string_view text);

}  // namespace keyhole::runtime
