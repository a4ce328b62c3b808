// argv or envp as main() is given it. Thread rule: one owner.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace keyhole::test {

class main_arguments {
public:
    explicit main_arguments(std::vector<std::string> words) : words_(std::move(words))
    {
        for (std::string& word : words_)
            pointers_.push_back(word.data());
        pointers_.push_back(nullptr);
    }
    main_arguments(const main_arguments&) = delete;
    main_arguments& operator=(const main_arguments&) = delete;

    int count() const noexcept { return static_cast<int>(words_.size()); }
    char** values() noexcept { return pointers_.data(); }

private:
    std::vector<std::string> words_;
    std::vector<char*> pointers_;
};

}  // namespace keyhole::test
