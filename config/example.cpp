#include "config/load.hpp"
#include "config/schema.hpp"

namespace keyhole::config {
namespace {

/// "# " begins a remark; a "#" before a key or a section makes it an example that can be uncommented.
template <class Target>
void add_keys(std::string& text, const std::vector<key_spec<Target>>& keys, bool as_example)
{
    for (const auto& key : keys) {
        text += "# " + key.help + " (" + key.type + ")\n";
        // The second spelling of a key would stand beside the first.
        const bool second =
            key.name == "keys" || (key.name == "socket" && other_name(key.name) == keys.front().name);
        if (second) {
            text += "# " + std::string(key.name) + " = " + key.sample + "\n";
        } else {
            text += (as_example || !key.has_default ? "#" : "") + std::string(key.name) + " = " + key.sample +
                    "\n";
        }
    }
}

}  // namespace

std::string example_toml()
{
    std::string text =
        "# Keyhole's configuration: every key with its default. A line that begins with # and a key has no "
        "default or is\n"
        "# an example. The command line (--set SECTION.KEY=VALUE) goes over the environment "
        "(KEYHOLE_SECTION_KEY), the\n"
        "# environment over this file. Secrets stand elsewhere, named as env:NAME or file:/path.\n";
    for (const section_spec& section : sections()) {
        text += "\n# " + std::string(section.help) + "\n[" + std::string(section.name) + "]\n";
        add_keys(text, section.keys, false);
    }
    text += "\n# Providers. These need no section, only their key in the environment (or in the file that "
            "NAME_FILE names):\n";
    for (const provider_preset& preset : provider_presets()) {
        text += "#   " + std::string(preset.name) + ": ";
        text += preset.key_env.empty() ? "no key; enabled by an empty section" : std::string(preset.key_env);
        text += preset.base_url.empty() ? ", and base_url in its section\n"
                                        : ", " + std::string(preset.base_url) + "\n";
    }
    text += "# A section changes one of them, or adds one that keyhole does not know.\n#[providers.openai]\n";
    add_keys(text, provider_keys(), true);
    text += "\n#[providers.my-vllm]\n#api = \"openai\"\n#base_url = "
            "\"http://127.0.0.1:8000/v1\"\n#credential = \"none\"\n"
            "\n# Prices over the built-in table, in order.\n#[[prices]]\n";
    add_keys(text, price_keys(), true);
    return text;
}

}  // namespace keyhole::config
