#include "engine/technique/ptq_parameters.h"

#include "engine/technique/calibration_parameters.h"
#include "engine/technique/mixed_precision.h"

namespace fettle {

TechniqueDescriptor ptqDescriptor() {
    TechniqueDescriptor d;
    d.id = "ptq";
    d.title = "Post-training quantization";
    d.help =
        "Stores the weights of linear layers as small integers or floats with scales. Takes "
        "seconds to minutes and needs no training: the first thing to try. int8 also multiplies "
        "8-bit activations (W8A8); int4 halves the weights again. What that costs depends on the "
        "model - small ones and those with outlier activations lose more - so it is measured, not "
        "assumed. On the CPU weight-only schemes round activations to int8 per 32 values while "
        "running, so that integers are multiplied; other devices may keep them at 16 bits.";
    d.usesCalibration = true;

    ParameterSchema scheme =
        parameter("scheme", "Scheme", ParameterType::Choice, "int8", "What the weights become.");
    scheme.sweepable = true;
    scheme.choices = {
        {"int8", "int8 (W8A8)",
         "8-bit weights with one scale per output channel; activations are quantized per token "
         "while running."},
        {"int8-static", "int8, fixed activation scales (W8A8)",
         "As int8, with one scale for each weight's activations from the calibration text: nothing "
         "to measure while running, but what lies beyond the text's range is clipped."},
        {"int4-g32", "int4, groups of 32",
         "4-bit weights, one 16-bit scale per 32 weights: 4.5 bits per weight."},
        {"int4-g64", "int4, groups of 64",
         "4-bit weights, one 16-bit scale per 64 weights: 4.25 bits per weight."},
        {"int4-g128", "int4, groups of 128",
         "4-bit weights, one 16-bit scale per 128 weights: 4.125 bits per weight."},
        {"int4-g32-asym", "int4, groups of 32, asymmetric",
         "As int4 in groups of 32, with a zero point of its own for each group: 4.625 bits per "
         "weight, closer to weights that do not lie evenly around zero."},
        {"int4-g64-asym", "int4, groups of 64, asymmetric",
         "As int4 in groups of 64, with a zero point for each group: 4.31 bits per weight."},
        {"int4-g128-asym", "int4, groups of 128, asymmetric",
         "As int4 in groups of 128, with a zero point for each group: 4.16 bits per weight."},
        {"w8a16", "int8, weights only (W8A16)",
         "8-bit weights with one scale per output channel; activations keep their precision, on "
         "the CPU int8 per 32 values."},
        {"int4-g32-a8", "int4, groups of 32, int8 activations (W4A8)",
         "As int4 in groups of 32, with activations quantized to int8 per token while running."},
        {"int4-g128-a8", "int4, groups of 128, int8 activations (W4A8)",
         "As int4 in groups of 128, with activations quantized to int8 per token while running."},
        {"int4-g32-a4", "int4, groups of 32, int4 activations (W4A4)",
         "As int4 in groups of 32, with activations quantized to int4 per 32 values: costs much "
         "without training."},
        {"int3-g32", "int3, groups of 32",
         "3-bit weights, one 16-bit scale per 32 weights: 3.5 bits per weight."},
        {"int3-g64", "int3, groups of 64",
         "3-bit weights, one 16-bit scale per 64 weights: 3.25 bits per weight."},
        {"int3-g128", "int3, groups of 128",
         "3-bit weights, one 16-bit scale per 128 weights: 3.125 bits per weight."},
        {"int2-g32", "int2, groups of 32",
         "2-bit weights, one 16-bit scale per 32 weights: 2.5 bits per weight. Needs training to "
         "be of use."},
        {"int2-g64", "int2, groups of 64",
         "2-bit weights, one 16-bit scale per 64 weights: 2.25 bits per weight. Needs training to "
         "be of use."},
        {"int2-g128", "int2, groups of 128",
         "2-bit weights, one 16-bit scale per 128 weights: 2.125 bits per weight. Needs training "
         "to be of use."},
        {"fp8", "fp8 (E4M3, W8A8)",
         "8-bit floats per output channel; activations likewise per token. No CPU multiplies them: "
         "here they are widened to float32 and the speed says nothing about other devices."},
        {"fp8-tensor", "fp8 per tensor (E4M3, W8A8)",
         "As fp8 with one scale for a whole weight: what the simplest runtimes take. Rows far "
         "below "
         "the largest lose precision only where they leave E4M3's range."},
        {"fp8-block128", "fp8, blocks of 128 x 128, weights only",
         "8-bit floats with one scale per 128 x 128 weights, as DeepSeek-V3 keeps them: 8.13 bits "
         "per weight. Widened to float32 here, so the speed says nothing about other devices."},
        {"nvfp4", "nvfp4 (W4A4)",
         "4-bit floats, one 8-bit scale per 16 weights: 4.5 bits per weight. Activations likewise, "
         "under a scale from the calibration text."},
        {"nvfp4-w4a16", "nvfp4, weights only",
         "As nvfp4; activations keep their precision, on the CPU int8 per 32 values."},
        {"mxfp4", "mxfp4 (W4A4)",
         "4-bit floats, one power of two per 32 weights: 4.25 bits per weight. Activations "
         "likewise."},
        {"mxfp4-w4a16", "mxfp4, weights only",
         "As mxfp4; activations keep their precision, on the CPU int8 per 32 values."},
        {"mxfp8", "mxfp8 (W8A8)",
         "8-bit floats (E4M3), one power of two per 32 weights: 8.25 bits per weight. Activations "
         "likewise. Widened to float32 on the CPU, so its speed says nothing about other devices."},
        {"mxfp8-w8a16", "mxfp8, weights only",
         "As mxfp8; activations keep their precision. Widened to float32 everywhere."},
        {"mxfp6-w6a16", "mxfp6, weights only",
         "6-bit floats (E2M3), one power of two per 32 weights: 6.25 bits per weight. Widened to "
         "float32 here, so the speed says nothing about other devices."},
        {"nf4", "nf4, groups of 64",
         "Sixteen quantiles of a normal distribution, one 16-bit scale per 64 weights: 4.25 bits "
         "per weight, the code values of bitsandbytes. Looked up and multiplied as float32: small "
         "files, not fast. Kept in artifacts; export writes plain weights."},
    };

    ParameterSchema method =
        parameter("method", "Method", ParameterType::Choice, "rtn", "How codes are chosen.");
    method.choices = {
        {"rtn", "Round to nearest", "Each weight goes to the nearest code of its group's scale."},
        {"gptq", "GPTQ",
         "Weights are rounded one input at a time; those that follow make up for the error of the "
         "outputs. Needs calibration text."},
        {"awq", "AWQ",
         "Inputs that carry much are scaled up before rounding, so that their weights keep more "
         "precision. Needs calibration text."},
        {"smoothquant", "SmoothQuant",
         "Moves outliers of the inputs into the weights: for int8, where activations are rounded "
         "too. Needs calibration text."},
        {"rotate", "Rotation, then GPTQ",
         "Rotates the stream between the layers so that no channel stands out (QuaRot), folded "
         "into "
         "the weights, then GPTQ; without calibration text it rounds to nearest."},
        {"auto", "Best of all",
         "GPTQ, with SmoothQuant's scales first for int8. Without calibration text it rounds to "
         "nearest and says so."}};
    method.sweepable = true;

    ParameterSchema rotate = parameter(
        "rotate", "Rotate first", ParameterType::Bool, false,
        "Multiplies the stream between the layers by a random Hadamard matrix and folds its "
        "inverse "
        "into the weights: the model computes the same and no channel stands out. Helps where "
        "single channels are large and activations are rounded to few bits; with small groups of "
        "weights it can cost accuracy. Families with RMSNorm and a head of its own (or "
        "quantize_head); drawn by the recipe's seed.");
    rotate.sweepable = true;

    const ParameterSchema bias = parameter(
        "bias_correction", "Correct biases", ParameterType::Bool, true,
        "Where a layer has a bias, it takes up the mean error that rounding leaves in the outputs. "
        "Needs calibration text.");

    ParameterSchema search = parameter("scale_search", "Scales", ParameterType::Choice, "mse",
                                       "How the scale of a group is found.");
    search.sweepable = true;
    search.choices = {
        {"mse", "Least squared error",
         "Tries clipping ratios for every group and keeps the best; with calibration text, inputs "
         "that matter more weigh more."},
        {"absmax", "Largest magnitude",
         "The largest weight maps to the largest code. Quickest, no clipping."},
    };

    ParameterSchema range = parameter(
        "input_range", "Range of activations", ParameterType::Choice, "max",
        "How wide the fixed range of int8 activations is. Language models have channels that stand "
        "out far and matter: where they do, anything narrower than the largest value costs much, "
        "unless SmoothQuant comes first.");
    range.sweepable = true;
    range.choices = {
        {"max", "Largest value", "Nothing of the calibration text is clipped."},
        {"percentile", "Percentile", "All but a small share of the values lie within."},
        {"mse", "Least squared error", "Where clipping and rounding together cost least."},
        {"entropy", "Least divergence",
         "Where the distribution of the values changes least (KL divergence)."},
    };
    range.visibleWhen = VisibleWhen{"scheme", {"int8-static"}};

    ParameterSchema percentile =
        numberParameter("input_percentile", "Percentile", ParameterType::Double, 99.99, 50, 100,
                        "%", "Share of the activations that lie within the range.");
    percentile.sweepable = true;
    percentile.visibleWhen = VisibleWhen{"input_range", {"percentile"}};

    const VisibleWhen compensates{"method", {"gptq", "auto", "rotate"}};
    const ParameterSchema calibrate = numberParameter(
        "calibration_tokens", "Calibration", ParameterType::Int, 16384, 0, 1048576, "tokens",
        "How many tokens of the calibration text are run through the model, drawn by the recipe's "
        "seed. 0, or no calibration text: all inputs weigh the same. GPTQ wants several times as "
        "many as the widest layer has inputs.");

    ParameterSchema damping = dampingParameter();
    damping.visibleWhen = compensates;

    ParameterSchema order = parameter(
        "activation_order", "Largest inputs first", ParameterType::Bool, true,
        "Rounds the weights of the largest inputs first, while most others can still make up for "
        "them.");
    order.visibleWhen = compensates;

    ParameterSchema follow = parameter(
        "follow_outputs", "Make up for layers before", ParameterType::Bool, true,
        "Aims every layer at what the plain model gives, so that it also makes up for what the "
        "layers before it have lost (GPTAQ), as far as tokens held back from it bear that out. "
        "Runs "
        "the calibration text through both.");
    follow.sweepable = true;
    follow.visibleWhen = compensates;

    ParameterSchema refine = numberParameter(
        "refine_passes", "Refining", ParameterType::Int, 2, 0, 20, "passes",
        "How often every code and scale is taken to its best value with all others fixed, after "
        "GPTQ has chosen them (coordinate descent). Each pass takes about as long as GPTQ itself.");
    refine.sweepable = true;
    refine.visibleWhen = compensates;

    ParameterSchema exponent = numberParameter(
        "scaling_exponent", "Scaling exponent", ParameterType::Double, 0, 0, 1, "",
        "How much of what stands out moves from the inputs into the weights (SmoothQuant's alpha) "
        "or how far large inputs are scaled up (AWQ's). 0: searched for every input.");
    exponent.sweepable = true;
    exponent.visibleWhen = VisibleWhen{"method", {"awq", "smoothquant"}};

    const ParameterSchema divergence = parameter(
        "layer_divergence", "Divergence of each weight", ParameterType::Bool, false,
        "Measures what each weight alone does to the predictions, rounded to nearest and as it was "
        "chosen, for the heat map. Needs calibration text; holds the model twice and runs it twice "
        "per weight, and a killed run starts over.");

    ParameterSchema lowRank = numberParameter(
        "low_rank", "Low-rank correction", ParameterType::Int, 0, 0, 256, "",
        "Rank of two narrow 16-bit matrices beside each weight that add back the part of the "
        "rounding error that outputs feel most (QERA). 16 to 64 make up for much at 2 and 3 bits; "
        "they cost 16 rank (in + out) bits and two small products per weight. Exported as a LoRA "
        "adapter beside the weights. 0: none.");
    lowRank.sweepable = true;

    ParameterSchema head = parameter(
        "quantize_head", "Output head too", ParameterType::Bool, false,
        "Quantizes the output projection as well. Large vocabularies spend most of their time "
        "there, but its errors go straight into the predictions. "
        "A head that shares its weights with the embedding gets a quantized copy of its own.");
    head.sweepable = true;

    const ParameterSchema exclude = parameter(
        "exclude", "Leave alone", ParameterType::PatternList, nlohmann::json::array(),
        "Tensor names that stay as they are: globs such as layers.0.* or *.ffn.down.weight, or "
        "regular expressions after re:. Embeddings and norms always stay.");

    ParameterSchema cache = parameter(
        "kv_cache", "Keys and values", ParameterType::Choice, "f16",
        "How keys and values of past tokens are kept while the model runs. Long texts need more "
        "memory for them than for the weights. The artifact remembers it; files exported for other "
        "programs do not, as those are told when they start.");
    cache.sweepable = true;
    cache.choices = {
        {"f16", "16 bits", "As they are computed, rounded to float16."},
        {"int8", "int8",
         "Half the memory: one scale per token and head. llama.cpp keeps its own "
         "(-ctk q8_0), TensorRT-LLM one scale per tensor."},
        {"fp8", "fp8 (E4M3)",
         "Half the memory: one scale per token and head. vLLM, SGLang and TensorRT-LLM keep fp8 "
         "with one scale per tensor."},
        {"int4", "int4",
         "A quarter: one scale per token and head. Costs accuracy with keys that "
         "have outlier channels. llama.cpp keeps its own (-ctk q4_0)."},
        {"nvfp4", "nvfp4",
         "4.5 bits and a scale per token and head: 4-bit floats, an 8-bit scale per 16 dimensions, "
         "so that outlier channels spoil their own block only. TensorRT-LLM keeps them so on "
         "Blackwell, with one global scale per tensor."}};

    d.parameters = {
        scheme,  method, search, range,  percentile, calibrate, calibrationLengthParameter(),
        damping, order,  follow, refine, lowRank,    exponent,  divergence,
        head,    rotate, bias,   cache,  exclude};
    for (ParameterSchema& parameter : mixedPrecisionParameters())
        d.parameters.push_back(std::move(parameter));
    return d;
}

}  // namespace fettle
