#include "sandbox-runtime/doctor/mounts.hpp"

#include "sandbox-runtime/doctor/looks.hpp"

#include <algorithm>

namespace keyhole::runtime::doctor {
namespace {

// Blanks are written as \040, backslashes as \134.
std::string unescaped(const std::string& text)
{
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool escape = text[i] == '\\' && i + 3 < text.size();
        out +=
            escape
                ? static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'))
                : text[i];
        if (escape) i += 3;
    }
    return out;
}

}  // namespace

std::vector<mount> mounts()
{
    std::vector<mount> out;
    for (const std::string& line : split(read_file("/proc/self/mountinfo"), '\n')) {
        const std::vector<std::string> words = split(line, ' ');
        const auto dash = std::find(words.begin(), words.end(), "-");
        if (words.size() < 6 || dash == words.end() || dash + 1 == words.end()) continue;
        out.push_back({unescaped(words[3]), unescaped(words[4]), words[5], *(dash + 1)});
    }
    return out;
}

}  // namespace keyhole::runtime::doctor
