// keyhole-cuts DIR [--only SUBSTRING] [--every-byte N] [--offsets N] [--cases] [--features]: see cuts.hpp.
// Fails when a drained row is not exact or a cancelled one is not marked; how near the estimates are is
// printed, not judged.
#include "cuts.hpp"

#include <charconv>
#include <exception>
#include <iostream>
#include <span>
#include <string_view>

int main(int argc, char** argv)
{
    namespace corpus = keyhole::metering::corpus;
    corpus::cut_options options;
    bool each = false;
    std::string_view directory;
    const std::span<char*> arguments{argv, static_cast<std::size_t>(argc)};
    const auto number = [](std::string_view text, std::size_t& into) {
        std::from_chars(text.data(), text.data() + text.size(), into);
    };
    for (std::size_t i = 1; i < arguments.size(); ++i) {
        const std::string_view argument = arguments[i];
        const bool more = i + 1 < arguments.size();
        if (argument == "--only" && more)
            options.only = arguments[++i];
        else if (argument == "--every-byte" && more)
            number(arguments[++i], options.every_byte);
        else if (argument == "--offsets" && more)
            number(arguments[++i], options.offsets);
        else if (argument == "--cases")
            each = true;
        else if (argument == "--features")
            options.features = true;
        else if (directory.empty() && !argument.starts_with("--"))
            directory = argument;
        else {
            directory = {};
            break;
        }
    }
    if (directory.empty()) {
        std::cerr << "usage: keyhole-cuts DIRECTORY [--only SUBSTRING] [--every-byte N] [--offsets N] "
                     "[--cases] [--features]\n";
        return 2;
    }
    try {
        const corpus::cut_report report = corpus::run_cuts(directory, options, std::cout);
        if (options.features) return 0;
        if (each) corpus::print_cases(report, std::cout);
        corpus::print(report, std::cout);
        return report.wrong.empty() ? 0 : 1;
    } catch (const std::exception& e) {
        std::cerr << "keyhole-cuts: " << e.what() << '\n';
        return 2;
    }
}
