// What the doctor found, guarantee by guarantee, for people and for programs. One thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace keyhole::runtime::doctor {

enum class verdict {
    ok,
    broken,
    note,  ///< worth knowing, no guarantee
};

struct finding {
    std::string guarantee;
    verdict is = verdict::ok;
    std::string what;    ///< what was seen; where broken, the cause
    std::string remedy;  ///< only where broken
};

class report {
public:
    void ok(std::string guarantee, std::string what);
    void note(std::string guarantee, std::string what);
    void broken(std::string guarantee, std::string cause, std::string remedy);
    /// ok(), or broken() with a cause and a remedy.
    void expect(bool good, std::string guarantee, std::string if_good, std::string cause, std::string remedy);

    const std::vector<finding>& findings() const noexcept { return findings_; }
    std::size_t broken_ones() const noexcept;
    std::string as_text() const;
    std::string as_json() const;

private:
    std::vector<finding> findings_;
};

}  // namespace keyhole::runtime::doctor
