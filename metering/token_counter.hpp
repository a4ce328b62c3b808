// About how many tokens a text has, by its runs of letters, digits, signs and spaces. Thread rule: one owner.
#pragma once

#include <cstdint>
#include <string_view>

namespace keyhole::metering {

/// Counts a text as it passes, the same however it is cut: runs of letters, digits and signs, as the
/// tokenizers in use split them before they look words up; other scripts by the character.
class token_counter {
public:
    void add(std::string_view utf8) noexcept;
    void end() noexcept { now_ = run::start; }  ///< the next text begins anew
    std::uint64_t millitokens() const noexcept { return count_; }

private:
    enum class run : std::uint8_t { start, space, line_end, letters, digits, signs, foreign };

    void enter(run next) noexcept;
    /// One character, and the letters behind it if it is one.
    [[gnu::always_inline]] inline const char* step(const char* p, const char* end) noexcept;
    /// Whole runs at the front, many at once; nullptr: they must be taken one by one.
    const char* block(const char* p, const char* end) noexcept;

    std::uint64_t count_ = 0;
    std::uint64_t length_ = 0;  ///< characters of the run
    run now_ = run::start;
};

}  // namespace keyhole::metering
