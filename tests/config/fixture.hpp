// A configuration that is made for one test: a real file, real secret files, and an environment of its own.
#pragma once

#include "config/load.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <unistd.h>
#include <variant>
#include <vector>

namespace keyhole::config {

class config_fixture : public ::testing::Test {
protected:
    config_fixture()
    {
        std::string pattern = (std::filesystem::temp_directory_path() / "keyhole-config-XXXXXX").string();
        directory_ = ::mkdtemp(pattern.data());
        std::filesystem::create_directories(directory_ / "etc");
        std::filesystem::create_directories(directory_ / "keys");
    }
    ~config_fixture() override
    {
        std::error_code ec;
        std::filesystem::remove_all(directory_, ec);
    }
    config_fixture(const config_fixture&) = delete;
    config_fixture& operator=(const config_fixture&) = delete;

    std::string write(const std::string& name, std::string_view content,
                      std::filesystem::perms mode = std::filesystem::perms{0600})
    {
        const std::filesystem::path path = directory_ / name;
        std::filesystem::create_directories(path.parent_path());
        std::ofstream(path, std::ios::binary) << content;
        std::filesystem::permissions(path, mode);
        return path.string();
    }

    /// Loads `toml` as a file with the environment and overrides of the test.
    std::variant<settings, std::vector<problem>> loaded(std::string_view toml)
    {
        file_ = write("etc/keyhole.toml", toml);
        return loaded_without_file(file_);
    }

    std::variant<settings, std::vector<problem>> loaded_without_file(const std::string& file = {})
    {
        sources from;
        from.file = file;
        from.overrides = overrides;
        from.getenv = [this](const char* name) -> const char* {
            const auto found = environment.find(name);
            return found == environment.end() ? nullptr : found->second.c_str();
        };
        from.environment_names = {"PATH"};
        for (const auto& [name, value] : environment) {
            from.environment_names.push_back(name);
        }
        return load(from);
    }

    settings good(const std::variant<settings, std::vector<problem>>& result)
    {
        if (const auto* problems = std::get_if<std::vector<problem>>(&result)) {
            ADD_FAILURE() << all(*problems);
            return {};
        }
        return std::get<settings>(result);
    }
    settings good(std::string_view toml) { return good(loaded(toml)); }

    static std::vector<std::string> lines(const std::vector<problem>& problems)
    {
        std::vector<std::string> out;
        for (const problem& p : problems) {
            out.push_back(to_string(p));
        }
        return out;
    }

    static std::string all(const std::vector<problem>& problems)
    {
        std::string text;
        for (const std::string& line : lines(problems)) {
            text += line + "\n";
        }
        return text;
    }

    /// The problems, with the file's path shortened to its name.
    std::vector<std::string> bad(const std::variant<settings, std::vector<problem>>& result)
    {
        const auto* problems = std::get_if<std::vector<problem>>(&result);
        if (problems == nullptr) return {"(no problem)"};
        EXPECT_FALSE(problems->empty());
        std::vector<std::string> out = lines(*problems);
        for (std::string& line : out) {
            for (std::size_t at = 0; (at = line.find(directory_.string() + "/", at)) != std::string::npos;) {
                line.erase(at, directory_.string().size() + 1);
            }
        }
        return out;
    }
    std::vector<std::string> bad(std::string_view toml) { return bad(loaded(toml)); }

    std::map<std::string, std::string> environment{{"OPENAI_API_KEY", "sk-test-openai-0123456789"}};
    std::map<std::string, std::string> overrides;
    std::filesystem::path directory_;
    std::string file_;
};

}  // namespace keyhole::config
