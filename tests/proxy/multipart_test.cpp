// NO_WAY_AROUND for forms: what the proxy reads is what every reader reads, or the form is refused.
#include "proxy/http/multipart.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace keyhole::proxy::http {
namespace {

using verdict = form_text::verdict;

std::string part(const std::string& head, const std::string& value)
{
    return "--B\r\n" + head + "\r\n\r\n" + value + "\r\n";
}

const std::string model = part("Content-Disposition: form-data; name=\"model\"", "whisper-1");
const std::string file = part("Content-Disposition: form-data; name=\"file\"; filename=\"a b.wav\"\r\n"
                              "Content-Type: audio/wav",
                              std::string("RIFF\0\r\n\r\n--", 12));
const std::string end = "--B--\r\n";
const std::string type = "multipart/form-data; boundary=B";

TEST(Form, ItsPartsAreSeenWithTheirFiles)
{
    std::vector<std::string> seen;
    const auto see = [&](const form_part& p) {
        seen.push_back(std::string(p.name) + (p.is_file ? "*" : "") + std::to_string(p.value.size()));
    };
    EXPECT_TRUE(each_form_part(type, model + file + end, see));
    EXPECT_EQ(seen, (std::vector<std::string>{"model9", "file*12"}));
    EXPECT_FALSE(each_form_part("application/json", "{}", see));
    EXPECT_FALSE(each_form_part(type, model + file, see)) << "its end is missing";
}

TEST(Form, IsReadAsTheSdksWriteIt)
{
    for (const auto& [content_type, body] :
         {std::pair{type, model + file + end},
          {type, file + model + "--B--"},
          {std::string("Multipart/Form-Data; charset=utf-8; Boundary=\"B\""), file + model + end},
          {type, part("content-disposition: form-data; name=model", "whisper-1") + end},
          {type,
           part("Content-Type: text/plain; charset=UTF-8\r\nContent-Disposition: form-data; name=\"model\"",
                "whisper-1") +
               end},
          {type, model +
                     part("Content-Disposition: form-data; name=\"file\"; filename=\"x\"; filename*=UTF-8''x",
                          "1") +
                     end}})
    {
        const auto got = read_form_text(content_type, body, "model");
        EXPECT_EQ(got.result, verdict::read) << body << got.why;
        EXPECT_EQ(got.value, "whisper-1") << body;
    }
    EXPECT_EQ(read_form_text(type, file + end, "model").value, "");
    EXPECT_EQ(read_form_text("application/json", "{}", "model").result, verdict::not_form);
    EXPECT_EQ(read_form_text("", "{}", "model").result, verdict::not_form);
}

TEST(Form, NO_WAY_AROUND_IsRefusedWhereReadersCouldDisagree)
{
    const auto other = [](const std::string& head) { return model + part(head, "gpt-4o-transcribe") + end; };
    const std::string disposition = "Content-Disposition: form-data; ";
    for (const auto& [content_type, body] :
         {std::pair{std::string("multipart/form-data; xboundary=A; boundary=B; boundary=C"), model + end},
          {std::string("multipart/form-data; boundary = B"), model + end},
          {std::string("multipart/form-data; boundary=\"B"), model + end},
          {std::string("multipart/form-data; boundary*=UTF-8''B"), model + end},
          {std::string("multipart/form-data"), model + end},
          {std::string("multipart/form-data; boundary="), model + end},
          {std::string("multipart/mixed; boundary=B"), model + end},
          {type, other(disposition + "name=\"model\"")},
          {type, other(disposition + "NAME=\"model\"")},
          {type, other(disposition + "name=\"Model\"")},
          {type, other(disposition + "name = \"model\"")},
          {type, other(disposition + "name=\"x\"; name=\"model\"")},
          {type, other(disposition + "name*=UTF-8''model")},
          {type, other(disposition + "name=\"mo\\del\"")},
          {type, other(disposition + "\r\n name=\"model\"")},
          {type, other("X-A: filename=\r\n" + disposition + "name=\"model\"")},
          {type, other(disposition + "name=\"model\"; filename=\"x\"")},
          {type, other(disposition + "name=\"x\"\r\nContent-Disposition: form-data; name=\"model\"")},
          {type, other("Content-Type: text/plain")},
          {type, other("Content-Disposition: attachment; name=\"model\"")},
          {type, other(disposition + "name=\"x\"\nContent-Disposition: form-data; name=\"model\"")},
          {type, part("Content-Disposition: form-data; name=\"model\"\r\nContent-Transfer-Encoding: base64",
                      "d2hpc3Blci0x") +
                     end},
          {type, part("Content-Disposition: form-data; name=\"model\"", std::string(257, 'x')) + end},
          {type, "preamble\r\n" + model + end},
          {type, model + end + "epilogue"},
          {type, model + end + model + end},
          {type, model},
          {type, "--B--"
                 "x"},
          {type, part("Content-Disposition: form-data; name=\"x\"", "1\n--B\nContent-Disposition: form-data; "
                                                                    "name=\"model\"\n\ngpt-4o-transcribe") +
                     model + end},
          {type, model + "--B \r\n" + end},
          {type, std::string()}})
        EXPECT_EQ(read_form_text(content_type, body, "model").result, verdict::unclear)
            << content_type << "\n"
            << body;
}

TEST(Form, AnyCutOfAFormIsNeverTakenForWhole)
{
    const auto whole = file + model + "--B--";
    for (std::size_t n = 0; n < whole.size(); ++n)
        EXPECT_EQ(read_form_text(type, whole.substr(0, n), "model").result, verdict::unclear) << n;
}

}  // namespace
}  // namespace keyhole::proxy::http
