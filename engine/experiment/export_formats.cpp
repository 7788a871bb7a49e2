// The formats a model can be written in, and which runtimes load each.
#include "engine/experiment/run_values.h"

namespace fettle {

const std::vector<ExportFormatInfo>& exportFormats() {
    static const std::vector<ExportFormatInfo> formats{
        {"safetensors",
         "Safetensors folder",
         "The Hugging Face layout with plain weights. Quantized weights are written out in full, "
         "so the file is as large "
         "as the original; every tool reads it.",
         {"transformers", "vLLM", "SGLang", "TensorRT-LLM", "llama.cpp (through its converter)"},
         false},
        {"compressed-tensors",
         "Safetensors folder, compressed-tensors",
         "Keeps the quantized weights as they are: packed integers or small floats with their "
         "scales, in the "
         "layout that vLLM and SGLang "
         "run directly.",
         {"vLLM", "SGLang", "transformers", "llama.cpp (through its converter)"},
         false},
        {"gguf-f16",
         "GGUF, 16 bits",
         "One file with 16-bit weights, the usual starting point for llama.cpp's own tools.",
         {"llama.cpp", "transformers (as plain weights)"},
         true},
        {"gguf-q8_0",
         "GGUF, Q8_0",
         "One file, 8.5 bits per weight in blocks of 32. Nearly lossless.",
         {"llama.cpp", "transformers (as plain weights)", "vLLM (in part)", "SGLang (in part)"},
         true},
        {"gguf-q4_0",
         "GGUF, Q4_0",
         "One file, 4.5 bits per weight in blocks of 32. Weights quantized as int4-g32 keep their "
         "codes.",
         {"llama.cpp", "transformers (as plain weights)", "vLLM (in part)", "SGLang (in part)"},
         true},
        {"gguf-q3_k_m",
         "GGUF, Q3_K_M",
         "One file, about 3.9 bits per weight: super-blocks of 256 in sixteen parts, llama.cpp's "
         "usual mixture with Q4_K. Costs accuracy that can be seen; with a calibration text GPTQ "
         "chooses the codes, which halves what it costs.",
         {"llama.cpp", "transformers (as plain weights)", "vLLM (in part)"},
         true,
         true},
        {"gguf-q4_k_m",
         "GGUF, Q4_K_M",
         "One file, about 4.9 bits per weight: super-blocks of 256 with six-bit scales, "
         "llama.cpp's "
         "usual mixture. With a calibration text GPTQ chooses the codes, which halves what it "
         "costs.",
         {"llama.cpp", "transformers (as plain weights)", "vLLM (in part)"},
         true,
         true},
        {"gguf-q5_k_m",
         "GGUF, Q5_K_M",
         "One file, about 5.7 bits per weight: as Q4_K_M with one bit more.",
         {"llama.cpp", "transformers (as plain weights)", "vLLM (in part)"},
         true,
         true},
        {"gguf-q6_k",
         "GGUF, Q6_K",
         "One file, 6.56 bits per weight in super-blocks of 256. Hardly distinguishable from the "
         "original.",
         {"llama.cpp", "transformers (as plain weights)", "vLLM (in part)"},
         true,
         true},
    };
    return formats;
}

const ExportFormatInfo* findExportFormat(std::string_view id) {
    for (const ExportFormatInfo& format : exportFormats()) {
        if (format.id == id)
            return &format;
    }
    return nullptr;
}

}  // namespace fettle
