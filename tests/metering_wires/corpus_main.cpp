// meter-corpus DIR [--only SUBSTRING] [--splits N] [--no-models]: see corpus.hpp.
#include "corpus.hpp"

#include <charconv>
#include <exception>
#include <iostream>
#include <span>
#include <string_view>

int main(int argc, char** argv)
{
    namespace corpus = keyhole::metering::corpus;
    corpus::options options;
    std::string_view directory;
    const std::span<char*> arguments{argv, static_cast<std::size_t>(argc)};
    for (std::size_t i = 1; i < arguments.size(); ++i) {
        const std::string_view argument = arguments[i];
        const bool more = i + 1 < arguments.size();
        if (argument == "--only" && more)
            options.only = arguments[++i];
        else if (argument == "--splits" && more) {
            const std::string_view n = arguments[++i];
            std::from_chars(n.data(), n.data() + n.size(), options.splits);
        } else if (argument == "--no-models")
            options.models = false;
        else if (directory.empty() && !argument.starts_with("--"))
            directory = argument;
        else
            directory = {};
    }
    if (directory.empty()) {
        std::cerr << "usage: meter-corpus DIRECTORY [--only SUBSTRING] [--splits N] [--no-models]\n";
        return 2;
    }
    try {
        return corpus::run_directory(directory, options, std::cout).failed == 0 ? 0 : 1;
    } catch (const std::exception& e) {
        std::cerr << "meter-corpus: " << e.what() << '\n';
        return 2;
    }
}
